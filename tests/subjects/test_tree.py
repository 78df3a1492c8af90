"""Trees as users have them: clones of every kind, tarballs, nested, dirty, hostile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pygit2
import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.kernelfiles.kconfig import ConfigError
from tailcall_audit.analyzer.kernelfiles.tree_files import DiskReader, ReadState, blob_id
from tailcall_audit.analyzer.model import TargetReport, Verdict
from tailcall_audit.analyzer.subjects.locate_tree import TreeError, open_tree
from tests.kernels import kernel_source
from tests.repositories import (
    FIX_6,
    FIX_6_SUBJECT,
    INTRODUCTION_6,
    INTRODUCTION_6_SUBJECT,
    History,
    backport,
    git,
    makefile,
    stable_branch,
)


def report(
    path: Path, rev: str | None = None, arch: str | None = "x86_64", only: str = "freplace-loop"
) -> TargetReport:
    return audit(trees=[str(path)], rev=rev, arch=arch, only=only.split(",") if only else ()).targets[0]


def verdict(path: Path, rev: str | None = None, only: str = "freplace-loop") -> Verdict:
    return report(path, rev, only=only).verdicts[0]


def with_source(history: History, version: str = "6.1.170-3") -> History:
    """Commit the real files of a Debian source."""
    source, _ = kernel_source("6.1", version)
    files: dict[str, bytes | None] = {
        str(path.relative_to(source)): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    files.pop("Makefile")
    history.commit("net: the sources\n", files)
    history.commit(backport(INTRODUCTION_6, INTRODUCTION_6_SUBJECT))
    return history


@pytest.fixture
def clone(tmp_path: Path) -> History:
    history = with_source(stable_branch(tmp_path / "linux"))
    history.checkout()
    return history


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
    for path in ("kernel/bpf/arraymap.c", "kernel/bpf/trampoline.c", "include/linux/bpf.h"):
        clone.files[path] = (source / path).read_bytes()
    clone.commit("vendor: update bpf\n")
    clone.checkout()
    item = verdict(clone.path)
    assert item.state is State.FIXED
    assert any("history says absent" in str(text) for text in item.disagreements)


def test_uncommitted_changes_are_what_is_audited_and_named(clone: History) -> None:
    source, _ = kernel_source("6.1", "6.1.192-2")
    for path in ("kernel/bpf/arraymap.c", "kernel/bpf/trampoline.c", "include/linux/bpf.h"):
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
    ("make", "message"),
    [
        (lambda path: None, "no such file or directory"),
        (lambda path: path.mkdir(), "not a kernel tree"),
        (lambda path: (path.mkdir(), (path / "Makefile").write_text("all:\n\ttrue\n")), "not a kernel tree"),
        (lambda path: (path.mkdir(), (path / "Makefile").write_bytes(b"\xff\x00" * 1000)), "not a kernel tree"),
        (lambda path: pygit2.init_repository(str(path)), "a git repository without a commit"),
        (lambda path: (path / ".git").mkdir(parents=True), "not a kernel tree|cannot be opened"),
    ],
)
def test_what_is_no_kernel_tree_is_an_error(tmp_path: Path, make: object, message: str) -> None:
    target = tmp_path / "x"
    make(target)  # type: ignore[operator]
    with pytest.raises(TreeError, match=message):
        open_tree(str(target), None)


def test_a_broken_repository_leaves_the_code_to_speak(clone: History) -> None:
    (clone.path / ".git/config").write_text("[core]\n\trepositoryformatversion = 99\n")
    found = report(clone.path)
    assert found.verdicts[0].state is State.AFFECTED
    assert any("cannot be opened" in note for note in found.notes)
    with pytest.raises(TreeError, match="cannot be opened"):
        open_tree(str(clone.path), "HEAD")


def test_another_project_is_no_kernel(tmp_path: Path) -> None:
    history = History(tmp_path / "x")
    history.files = {"README": b"hello\n"}
    history.commit("hello\n")
    with pytest.raises(TreeError, match="not a kernel tree"):
        open_tree(str(tmp_path / "x"), None)


@pytest.mark.parametrize("rev", ["v9.9", "--upload-pack=touch /tmp/owned", "HEAD~999", "\x1b[2J", ""])
def test_a_revision_that_is_none_is_an_error(clone: History, rev: str) -> None:
    with pytest.raises(TreeError, match=r"no commit|is no revision"):
        open_tree(str(clone.path), rev)


def test_a_revision_needs_a_repository(tmp_path: Path) -> None:
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux/Makefile").write_bytes(makefile("6.1.170"))
    with pytest.raises(TreeError, match="--rev needs a git repository"):
        open_tree(str(tmp_path / "linux"), "v6.1")


def test_nothing_of_the_repository_is_run_and_nothing_is_written(clone: History, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    trap = f"touch {owned}; false"
    hooks = clone.path / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "pre-commit", "reference-transaction", "fsmonitor-watchman"):
        (hooks / name).write_text(f"#!/bin/sh\n{trap}\n")
        (hooks / name).chmod(0o755)
    script = tmp_path / "trap.sh"
    script.write_text(f"#!/bin/sh\n{trap}\n")
    script.chmod(0o755)
    with (clone.path / ".git/config").open("a") as config:
        config.write(
            f"[log]\n\tshowSignature = true\n[gpg]\n\tprogram = {script}\n[core]\n\tpager = {script}\n\tfsmonitor = {script}\n\tsshCommand = {script}\n\teditor = {script}\n\thooksPath = {hooks}\n"
            f'[filter "x"]\n\tclean = {script}\n\tsmudge = {script}\n\tprocess = {script}\n[diff]\n\texternal = {script}\n[alias]\n\trev-list = !{script}\n[remote "origin"]\n\turl = ext::{script}\n\tpromisor = true\n'
        )
    (clone.path / ".gitattributes").write_text("* filter=x diff=x\n")
    commit = clone.commit("net: signed\n")
    assert commit
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(clone.path.rglob("*"))}
    for rev in (None, "HEAD"):
        assert verdict(clone.path, rev).state is State.AFFECTED
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(clone.path.rglob("*"))} == before
    assert not owned.exists()


def test_replace_refs_and_grafts_change_nothing(clone: History) -> None:
    local = clone.commit(backport(FIX_6, FIX_6_SUBJECT))
    parent = str(clone.repository[local].parent_ids[0])  # type: ignore[attr-defined]
    top = clone.commit("net: top\n")
    clone.repository.references.create(f"refs/replace/{local}", parent)
    (clone.path / ".git/info").mkdir(exist_ok=True)
    (clone.path / ".git/info/grafts").write_text(f"{top} {parent}\n")
    item = verdict(clone.path)
    assert any(evidence.kind.value == "history" and evidence.presence.value == "present" for evidence in item.evidence)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_repository_of_another_user_is_read(clone: History) -> None:
    for path in [clone.path, *clone.path.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)
    assert verdict(clone.path).state is State.AFFECTED


def test_links_devices_and_large_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret.c").write_text("x")
    root = tmp_path / "linux"
    root.mkdir()
    (root / "link.c").symlink_to(tmp_path / "outside/secret.c")
    (root / "kernel").symlink_to(tmp_path / "outside")
    (root / "large.c").write_bytes(b"x" * (5 << 20))
    os.mkfifo(root / "pipe.c")
    reader = DiskReader(root)
    for path in ("link.c", "kernel/secret.c", "large.c", "pipe.c"):
        assert reader.read(path).state is ReadState.UNREADABLE, path
    assert reader.read("nothing.c").state is ReadState.MISSING


def test_a_file_that_a_sparse_checkout_left_out_is_not_missing(clone: History) -> None:
    (clone.path / "kernel/bpf/arraymap.c").unlink()
    read = open_tree(str(clone.path), None).files.read("kernel/bpf/arraymap.c")
    assert read.state is ReadState.UNREADABLE
    assert "sparse checkout" in read.reason
    assert open_tree(str(clone.path), None).files.read("kernel/bpf/nothing.c").state is ReadState.MISSING


def test_a_device_in_place_of_a_source_file_is_unknown(clone: History) -> None:
    (clone.path / "kernel/bpf/arraymap.c").unlink()
    (clone.path / "kernel/bpf/arraymap.c").symlink_to("/dev/zero")
    item = verdict(clone.path)
    assert any("symbolic link" in evidence.detail for evidence in item.evidence)


def test_blob_ids_are_gits(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello\n")
    assert blob_id(b"hello\n") == git("hash-object", str(tmp_path / "x")).strip()


def test_a_patch_queue_names_what_is_not_applied(tmp_path: Path) -> None:
    source, _ = kernel_source("6.1", "6.1.170-3")
    root = tmp_path / "linux"
    shutil.copytree(source, root)
    (root / "debian/patches/bugfix").mkdir(parents=True)
    (root / "debian/patches/series").write_text(
        "# comment\nbugfix/loop.patch -p1\nbugfix/other.patch\n../../etc/passwd\n"
    )
    (root / "debian/patches/bugfix/loop.patch").write_text(
        f"From: Leon Hwang\nSubject: [PATCH 1/2] {FIX_6_SUBJECT}\nOrigin: https://git.kernel.org/linus/{FIX_6}\n\n---\n kernel/bpf/arraymap.c | 2 +-\n"
    )
    (root / "debian/patches/bugfix/other.patch").write_text("Subject: something\n")
    found = report(root)
    assert found.verdicts[0].state is State.AFFECTED
    assert any("patch not applied yet" in note and "bugfix/loop.patch" in note for note in found.notes)
    (root / ".pc").mkdir()
    (root / ".pc/applied-patches").write_text("bugfix/loop.patch\n")
    found = report(root)
    assert any(
        item.kind.value == "patch-queue" and item.presence.value == "present" for item in found.verdicts[0].evidence
    )
    assert found.verdicts[0].state is State.AFFECTED
    assert any("patch-queue says present" in str(text) for text in found.verdicts[0].disagreements)


@pytest.mark.parametrize("body", ["", "\nThis reverts\ncommit d6083f040d5d8f8d748462c77e90547097df936e.\n"])
def test_an_applied_patch_that_reverts_a_fix_is_not_the_fix(tmp_path: Path, body: str) -> None:
    root = tmp_path / "linux"
    (root / "debian/patches").mkdir(parents=True)
    (root / "Makefile").write_bytes(makefile("6.1.192"))
    (root / "debian/patches/series").write_text("revert.patch\n")
    subject = "bpf: Prevent tailcall infinite loop caused by freplace"
    (root / "debian/patches/revert.patch").write_text(f'Subject: [PATCH] Revert "{subject}"\n{body}---\n')
    (root / ".pc").mkdir()
    (root / ".pc/applied-patches").write_text("revert.patch\n")
    found = next(item for item in report(root).verdicts[0].evidence if item.kind.value == "patch-queue")
    assert (found.commit, found.presence.value) == ("d6083f040d5d", "absent")


def test_a_suse_queue_is_matched_by_its_git_commit(tmp_path: Path) -> None:
    root = tmp_path / "linux"
    root.mkdir()
    (root / "Makefile").write_bytes(makefile("6.4.0"))
    (root / "series.conf").write_text("\tpatches.suse/loop.patch\n+needs_work\tpatches.suse/guarded.patch\n")
    (root / "patches.suse").mkdir()
    (root / "patches.suse/loop.patch").write_text(
        f"From: L\nSubject: something else\nPatch-mainline: v6.13-rc1\nGit-commit: {FIX_6}\n\n---\n"
    )
    assert any("series.conf:1 (patches.suse/loop.patch)" in note for note in report(root).notes)


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
