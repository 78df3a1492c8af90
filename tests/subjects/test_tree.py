"""Trees as users have them: clones of every kind, tarballs, nested, dirty, hostile."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.kernelfiles.kconfig import ConfigError
from tests.kernels import kernel_source
from tests.repositories import (
    FIX_6,
    FIX_6_SUBJECT,
    INTRODUCTION_6,
    INTRODUCTION_6_SUBJECT,
    History,
    backport,
    git,
    stable_branch,
)
from tests.subjects.trees import report, verdict

FIXED_FILES = ("kernel/bpf/arraymap.c", "kernel/bpf/trampoline.c", "include/linux/bpf.h")
"""The files that the fix of pitfall 6 changes."""


def test_a_clone_is_judged_by_code_and_history(clone: History) -> None:
    item = verdict(clone.path)
    assert item.state is State.AFFECTED
    assert {evidence.kind.value for evidence in item.evidence} >= {"source", "history", "release"}
    assert not item.disagreements


def test_the_log_says_fixed_and_the_code_does_not(clone: History) -> None:
    clone.commit(backport(FIX_6, FIX_6_SUBJECT))
    item = verdict(clone.path)
    assert item.state is State.AFFECTED
    assert any("history says present" in str(text) for text in item.disagreements)


def test_the_code_has_the_fix_and_the_log_is_silent(clone: History) -> None:
    source, _ = kernel_source("6.1", "6.1.192-2")
    for path in FIXED_FILES:
        clone.files[path] = (source / path).read_bytes()
    clone.commit("vendor: update bpf\n")
    clone.checkout()
    item = verdict(clone.path)
    assert item.state is State.FIXED
    assert any("history says absent" in str(text) for text in item.disagreements)


def test_uncommitted_changes_are_what_is_audited_and_named(clone: History) -> None:
    source, _ = kernel_source("6.1", "6.1.192-2")
    for path in FIXED_FILES:
        shutil.copyfile(source / path, clone.path / path)
    found = report(clone.path)
    assert found.verdicts[0].state is State.FIXED
    assert any("differ from HEAD" in note and "kernel/bpf/arraymap.c" in note for note in found.notes)
    assert verdict(clone.path, "HEAD").state is State.AFFECTED


def test_a_clean_tree_differs_in_nothing(clone: History) -> None:
    assert not any("differ" in note for note in report(clone.path).notes)


def test_a_revision_is_audited_alone(clone: History) -> None:
    clone.release("6.1.171")
    found = report(clone.path, "v6.1.171")
    assert found.identity["upstream"] == "6.1.171"
    assert report(clone.path, "v6.1").identity["upstream"] == "6.1"


def test_a_resolved_conflict_counts_only_with_the_code(tmp_path: Path) -> None:
    history = stable_branch(tmp_path / "linux")
    history.commit(backport(INTRODUCTION_6, INTRODUCTION_6_SUBJECT))
    history.commit(backport(FIX_6, FIX_6_SUBJECT, "Conflicts:\n\tkernel/bpf/arraymap.c\n\n"))
    history.checkout()
    item = verdict(history.path)
    assert item.state is State.UNKNOWN
    assert "git show" in str(item.settle)


def test_a_path_below_the_root_and_a_home_are_resolved(clone: History, monkeypatch: pytest.MonkeyPatch) -> None:
    assert report(clone.path / "kernel/bpf").identity["root"] == str(clone.path)
    assert report(clone.path / "kernel/bpf/core.c").identity["root"] == str(clone.path)
    monkeypatch.setenv("HOME", str(clone.path.parent))
    assert report(Path("~/linux")).identity["root"] == str(clone.path)


@pytest.mark.parametrize("bare", [True, False])
def test_bare_and_unchecked_out_clones_are_read_from_their_commits(clone: History, tmp_path: Path, bare: bool) -> None:
    target = tmp_path / "other"
    git("clone", "-q", "--bare" if bare else "--no-checkout", str(clone.path), str(target))
    assert verdict(target).state is State.AFFECTED


def test_a_linked_worktree_is_read(clone: History, tmp_path: Path) -> None:
    git("worktree", "add", "-q", str(tmp_path / "linked"), "HEAD", cwd=clone.path)
    item = verdict(tmp_path / "linked")
    assert item.state is State.AFFECTED
    assert any(evidence.kind.value == "history" and evidence.presence.value == "absent" for evidence in item.evidence)


def test_a_submodule_is_read(clone: History, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    git("init", "-q", str(outer))
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(clone.path), "linux", cwd=outer)
    assert verdict(outer / "linux").state is State.AFFECTED


@pytest.mark.parametrize("kind", ["blob:none", "tree:0"])
def test_a_partial_clone_says_what_it_could_not_read(clone: History, tmp_path: Path, kind: str) -> None:
    clone.commit(backport(FIX_6, FIX_6_SUBJECT))
    git("config", "uploadpack.allowFilter", "true", cwd=clone.path)
    git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=clone.path)
    target = tmp_path / "partial"
    git("clone", "-q", "--no-checkout", f"--filter={kind}", f"file://{clone.path}", str(target))
    before = sorted(path.name for path in target.rglob("*"))
    found = report(target)
    assert found.identity["upstream"] == "6.1"  # by the newest release commit: the Makefile is not in the clone
    assert found.verdicts[0].state is State.FIXED
    sources = [item for item in found.verdicts[0].evidence if item.kind.value == "source"]
    assert sources
    assert all(item.presence.value == "unknown" and "partial clone" in item.detail for item in sources)
    assert sorted(path.name for path in target.rglob("*")) == before


def test_an_unpacked_source_without_git_is_judged_by_its_code(tmp_path: Path) -> None:
    source, _ = kernel_source("6.1", "6.1.170-3")
    shutil.copytree(source, tmp_path / "linux-source-6.1")
    found = report(tmp_path / "linux-source-6.1")
    assert found.verdicts[0].state is State.AFFECTED
    assert any("no git history" in note for note in found.notes)


def test_a_source_inside_another_repository_does_not_use_its_history(tmp_path: Path) -> None:
    outer = stable_branch(tmp_path / "outer", "5.10.1")
    outer.commit(backport(FIX_6, FIX_6_SUBJECT))
    source, _ = kernel_source("6.1", "6.1.170-3")
    shutil.copytree(source, outer.path / "vendor/linux")
    found = report(outer.path / "vendor/linux")
    assert found.identity["upstream"].startswith("6.1.")  # type: ignore[union-attr]
    assert found.verdicts[0].state is State.AFFECTED
    assert any("not the kernel's own" in note for note in found.notes)


def test_a_tree_without_an_architecture_is_judged_for_all(clone: History) -> None:
    lines = report(clone.path, arch=None, only="freplace-loop,4").verdicts
    by_slug = {(item.defect.slug, item.state): item.architectures for item in lines}
    assert by_slug["freplace-loop", State.AFFECTED] == ("x86_64", "arm64")
    assert by_slug["arm64-tailcall-hierarchy", State.AFFECTED] == ("arm64",)
    assert by_slug["s390-tailcall-hierarchy", State.NOT_AFFECTED] == ("s390x",)


def test_the_config_of_a_tree_is_used(clone: History) -> None:
    header = "# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.170 Kernel Configuration\n"
    (clone.path / ".config").write_text(header + "CONFIG_64BIT=y\nCONFIG_X86_64=y\n# CONFIG_BPF_SYSCALL is not set\n")
    found = report(clone.path, arch=None)
    assert found.identity["architecture"] == "x86_64"
    assert found.verdicts[0].state is State.NOT_AFFECTED
    (clone.path / ".config").write_text(header.replace("6.1.170", "6.6.1") + "# CONFIG_BPF_SYSCALL is not set\n")
    found = report(clone.path)
    assert found.verdicts[0].state is State.AFFECTED
    assert any("excludes nothing" in note for note in found.notes)


def test_a_broken_config_of_a_tree_is_an_error(clone: History) -> None:
    (clone.path / ".config").write_text("nonsense\n")
    with pytest.raises(ConfigError, match=r"\.config: not a kernel configuration"):
        report(clone.path)


def test_a_distribution_tree_is_named(clone: History) -> None:
    (clone.path / "Makefile.rhelver").write_text("RHEL_MAJOR = 9\n")
    found = report(clone.path)
    assert found.identity["distro"] == "rhel"
    assert any("RHEL family" in note for note in found.notes)


@pytest.mark.parametrize(
    ("files", "distro"),
    [
        (("Makefile.rhelver",), "rhel"),
        (("debian/changelog",), "debian"),
        (("debian/changelog", "debian.master/changelog"), "ubuntu"),
        (("rpm/config.sh",), "suse"),
        (("uek-rpm/ol9/kernel-uek.spec",), "oracle-uek"),
        (("build.config.gki",), "android"),
        (("build.config.common",), "android"),
        (("localversion-next",), "linux-next"),
        ((), None),
    ],
)
def test_a_tree_is_of_the_distribution_whose_files_it_has(
    files: tuple[str, ...], distro: str | None, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text(
        "VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 170\nKERNELVERSION = $(VERSION).$(PATCHLEVEL)\n"
    )
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("\n")
    report = audit(trees=[str(tmp_path)], only=["freplace-loop"]).targets[0]
    assert report.identity["distro"] == distro
