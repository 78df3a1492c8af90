"""Cases from real trees: each stands for its kind. The numbers are those of the collection that they were taken from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.model import TargetReport
from tailcall_audit.analyzer.subjects.git_repository import TreeError
from tailcall_audit.analyzer.subjects.locate_tree import open_tree
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


def report(path: Path, *only: str, rev: str | None = None, arch: str = "x86_64") -> TargetReport:
    return audit(trees=[str(path)], rev=rev, arch=arch, only=only).targets[0]


def states(path: Path, *only: str, arch: str = "x86_64") -> dict[str, State]:
    return report(path, *only, arch=arch).states


@pytest.fixture
def bookworm(tmp_path: Path) -> Path:
    """The files that matter of Debian's linux-source-6.1."""
    source, _ = kernel_source("6.1", "6.1.192-2")
    target = tmp_path / "linux-6.1"
    shutil.copytree(source, target)
    return target


VERIFIER = "kernel/bpf/verifier.c"
HALF_FIXES = (
    # 5dd0a6b8582f: the check in fixup_call_args() is older (e411901c0b77); without the mark it is never true. As in 5.10.0 to 5.10.53.
    (
        "interp-fallback-tailcall-subprog",
        r"\tif \(subprog\[0\]\.tail_call_reachable\)\n\t\tenv->prog->aux->tail_call_reachable = true;\n",
        "",
    ),
    # 7506d211b932: poke descriptors are moved without regard to the offset.
    ("mixed-tailcall-subprog-null-deref", r"\t\tif \(desc->insn_idx <= off\)\n\t\t\tcontinue;\n", ""),
)


@pytest.mark.parametrize(("slug", "text", "put"), HALF_FIXES)
def test_cases_1_and_2_half_of_a_fix_is_not_the_fix(bookworm: Path, slug: str, text: str, put: str) -> None:
    assert states(bookworm, slug)[slug] is State.FIXED
    file = bookworm / VERIFIER
    changed, count = re.subn(text, put, file.read_text())
    assert count == 1
    file.write_text(changed)
    assert states(bookworm, slug)[slug] is not State.FIXED


MAKEFILES = (
    makefile("6.1.192").replace(b"\n", b"\r\n"),
    makefile("6.1.192").replace(b" = ", b" := "),
    makefile("6.1.192").replace(b"SUBLEVEL = 192", b"SUBLEVEL = 192 # vendor"),
    b"\xef\xbb\xbf" + makefile("6.1.192").removeprefix(b"# SPDX-License-Identifier: GPL-2.0\n"),
)


@pytest.mark.parametrize("data", MAKEFILES)
def test_case_3_a_makefile_in_other_forms_is_read(bookworm: Path, data: bytes) -> None:
    (bookworm / "Makefile").write_bytes(data)
    assert report(bookworm, "freplace-loop").identity["upstream"] == "6.1.192"


def test_case_3_windows_line_ends_change_no_verdict(bookworm: Path) -> None:
    before = states(bookworm)
    for path in (*bookworm.rglob("*.[ch]"), bookworm / "Makefile"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert states(bookworm) == before


@pytest.mark.parametrize("committed", [True, False])
def test_case_3_windows_line_ends_of_a_clone_change_no_verdict(tmp_path: Path, committed: bool) -> None:
    """CR LF in the commit and on disk, or on disk alone, as core.autocrlf leaves a checkout."""
    source, _ = kernel_source("6.1", "6.1.192-2")
    slugs = ("x86-hierarchy", "freplace-loop", "tailcall-compat-race")
    unix = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*.[ch]")}
    windows = {name: data.replace(b"\n", b"\r\n") for name, data in unix.items()}
    history = stable_branch(tmp_path / "linux", "6.1.192")
    history.files["Makefile"] = MAKEFILES[0] if committed else makefile("6.1.192")
    history.commit("the sources\n", dict(windows if committed else unix))
    history.checkout()
    for name, data in {**windows, "Makefile": MAKEFILES[0]}.items():
        (history.path / name).write_bytes(data)
    found = report(history.path, *slugs)
    assert found.identity["upstream"] == "6.1.192"
    assert found.states == states(source, *slugs)
    assert not any("differ from HEAD" in note for note in found.notes)


def test_case_3_all_other_forms_of_a_makefile_at_once_change_no_verdict(bookworm: Path) -> None:
    before = states(bookworm)
    text = (bookworm / "Makefile").read_bytes().replace(b"\nVERSION = 6", b"\nVERSION := 6")
    text = re.sub(rb"\nSUBLEVEL = (\d+)", rb"\nSUBLEVEL = \1 # vendor", text)
    (bookworm / "Makefile").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert states(bookworm) == before


def _s390_6_6(text: str) -> str:
    """The call of 6.6: the count is copied before the call and not back after it."""
    return re.sub(
        r"(\t\tif \(insn->src_reg == BPF_PSEUDO_CALL\)\n\t\t\t/\*[^/]*\*/\n)\t\t\t_EMIT6\(0xd203f000 \|[^;]*;",
        "\t\t;",
        text,
        count=1,
    )


def test_case_4_s390_without_the_copy_back_is_affected(tmp_path: Path) -> None:
    source, _ = kernel_source("6.12", "6.12.117-1")
    shutil.copytree(source, tmp_path / "linux")
    jit = tmp_path / "linux/arch/s390/net/bpf_jit_comp.c"
    assert states(tmp_path / "linux", "s390-tailcall-hierarchy", arch="s390x")["s390-tailcall-hierarchy"] is State.FIXED
    text = jit.read_text()
    changed = _s390_6_6(text)
    assert changed != text
    jit.write_text(changed)
    found = states(tmp_path / "linux", "s390-tailcall-hierarchy", arch="s390x")
    assert found["s390-tailcall-hierarchy"] is State.AFFECTED


def _without(text: str, name: str) -> str:
    """A file without a function or struct, and without what names it."""
    pattern = (
        rf"^(?:static )?(?:inline )?[\w ]*\*?{name}\([^;{{]*\)\n\{{.*?^\}}\n"
        if " " not in name
        else rf"^{name} \{{.*?^\}};\n"
    )
    text = re.sub(pattern, "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(rf"\b{name.rsplit(' ', maxsplit=1)[-1]}\b", "something_older", text)


def test_case_5_an_older_tree_without_what_came_later_is_not_affected(bookworm: Path) -> None:
    """Nothing of the names is there, and the version is older: absent. Either alone proves nothing."""
    slugs = (
        "poke-desc-tnum-oob",
        "mixed-tailcall-subprog-null-deref",
        "subprog-poke-uaf",
        "freplace-tailcallee",
        "tailcall-pkt-pointers",
    )
    (bookworm / "kernel/bpf/trampoline.c").unlink()
    for path in (
        *bookworm.glob("kernel/bpf/*.c"),
        *bookworm.glob("include/linux/*.h"),
        *bookworm.glob("arch/*/net/*.c"),
    ):
        text = path.read_text()
        for name in (
            "struct bpf_jit_poke_descriptor",
            "record_func_key",
            "do_check_subprogs",
            "bpf_attach_type_to_tramp",
        ):
            text = _without(text, name)
        path.write_text(text)
    (bookworm / "Makefile").write_bytes(makefile("5.4.286"))
    by_version = audit(kernels=["5.4.286"], arch="x86_64", only=slugs).targets[0].states
    assert set(by_version.values()) == {State.NOT_AFFECTED}
    assert states(bookworm, *slugs) == by_version
    (bookworm / "Makefile").write_bytes(makefile("6.1.192"))
    assert State.NOT_AFFECTED not in states(bookworm, *slugs).values()
    (bookworm / "Makefile").write_bytes(makefile("5.4.286"))
    with (bookworm / "kernel/bpf/core.c").open("a") as file:
        file.write("int record_func_key(void);\n")
    assert states(bookworm, "poke-desc-tnum-oob")["poke-desc-tnum-oob"] is State.UNKNOWN


def test_case_6_proxmoxs_changelog_leaves_open_what_its_release_leaves_open(tmp_path: Path) -> None:
    heads = (
        ("6.11.11-2", "update sources to Ubuntu-6.11.0-24.24"),
        ("6.11.0-1", "update sources to Ubuntu-6.11.0-8.8"),
    )
    entries = [
        f"proxmox-kernel-6.11 ({version}) bookworm; urgency=medium\n\n  * {text}\n\n"
        " -- N N <n@example.org>  Mon, 03 Nov 2025 10:00:00 +0000\n"
        for version, text in heads
    ]
    (tmp_path / "changelog").write_text("\n".join(entries))
    found = audit(changelog=str(tmp_path / "changelog"), arch="x86_64").targets[0]
    assert found.identity["distro"] == "proxmox"
    by_release = audit(kernels=["6.11.11-2-pve"], arch="x86_64").targets[0].states
    assert found.states["freplace-loop"] is by_release["freplace-loop"] is State.UNKNOWN
    assert found.states == by_release


@pytest.mark.parametrize(
    "text", ["VERSION = 2023\nPATCHLEVEL = 10\nSUBLEVEL = 0\n", "VERSION = 1\nPATCHLEVEL = 36\nSUBLEVEL = 1\n"]
)
def test_case_9_other_projects_with_this_kind_of_makefile_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "Makefile").write_text(text + "KERNELVERSION = $(VERSION).$(PATCHLEVEL)\n")
    with pytest.raises(TreeError, match="not a kernel tree"):
        open_tree(str(tmp_path), None)


def test_case_9_a_project_without_any_folder_of_a_kernel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_bytes(makefile("5.4.0"))
    for name in (
        "common",
        "commands",
        "lib",
        "dts",
        "net",
        "scripts",
        "images",
        "pbl",
        "test",
        "crypto",
        "defaultenv",
        "x",
    ):
        (tmp_path / name).mkdir()
    with pytest.raises(TreeError, match="not a kernel tree"):
        open_tree(str(tmp_path), None)
    (tmp_path / "kernel").mkdir()
    assert open_tree(str(tmp_path), None).root == tmp_path


def test_case_10_an_archive_inside_a_tree_is_refused(bookworm: Path) -> None:
    archive = bookworm / "linux-5.4.tar.gz"
    archive.write_bytes(b"\x1f\x8b\x08" + bytes(100))
    with pytest.raises(TreeError, match="unpack it"):
        report(archive)
    archive.rename(bookworm / "notes.txt")  # by its content, not by its name
    with pytest.raises(TreeError, match="unpack it"):
        report(bookworm / "notes.txt")


@pytest.mark.parametrize("bare", [True, False])
def test_case_11_a_kernel_in_a_folder_is_named_and_read(tmp_path: Path, bare: bool) -> None:
    source, _ = kernel_source("6.1", "6.1.170-3")
    history = History(tmp_path / "outer", bare=bare)
    history.files = {
        f"linux-6.1/{path.relative_to(source)}": path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    history.files["README"] = b"two kernels\n"
    history.commit("import\n")
    if not bare:
        history.checkout()
    with pytest.raises(TreeError, match=r"linux-6\.1"):
        open_tree(str(history.path), None)
    found = report(history.path, "freplace-loop", rev="HEAD:linux-6.1")
    assert found.states["freplace-loop"] is State.AFFECTED
    assert any("not the kernel's own" in note for note in found.notes)
    with pytest.raises(TreeError, match="not a kernel tree"):
        open_tree(str(history.path), "HEAD:nothing")


_TAIL = "-00015-gabcdef012345"
ANDROID_5_10 = (
    # the release whose code was read, and earlier ones of that branch: the fix of 5.10.53 was taken out
    (f"5.10.198-android12-9{_TAIL}", State.AFFECTED),
    (f"5.10.101-android12-9{_TAIL}", State.AFFECTED),
    (f"5.10.43-android12-9{_TAIL}", State.AFFECTED),
    # a later one, a vendor's build of it, and the next branch on 5.10: open, whatever 5.10.209 has
    (f"5.10.209-android12-9{_TAIL}", State.UNKNOWN),
    ("5.10.226-android12-9-31998796-abS911BXXS8EYK2", State.UNKNOWN),
    (f"5.10.107-android13-4{_TAIL}", State.UNKNOWN),
    # mainline's own fix is in the base of the later branches
    (f"5.15.104-android13-8{_TAIL}", State.FIXED),
    (f"6.1.128-android14-11{_TAIL}", State.FIXED),
    # and kernel.org's 5.10 has it
    ("5.10.198", State.FIXED),
)


@pytest.mark.parametrize(("kernel", "expected"), ANDROID_5_10)
def test_case_13_androids_release_proves_less_than_its_base(kernel: str, expected: State) -> None:
    found = audit(kernels=[kernel], arch="x86_64", only=["subprog-poke-uaf"]).targets[0]
    assert found.states["subprog-poke-uaf"] is expected


ASSIGN = "int bpf_cgroup_storage_assign(struct bpf_prog_aux *aux, struct bpf_map *_map)\n{"
OLDER_ASSIGN = """int bpf_cgroup_storage_assign({argument}, struct bpf_map *_map)
{{
	enum bpf_cgroup_storage_type stype = cgroup_storage_type(_map);
	struct bpf_cgroup_storage_map *map = map_to_storage(_map);
	int ret = -EBUSY;

	spin_lock_bh(&map->lock);
	if (map->{owner} && map->{owner} != {owner})
		goto unlock;
	map->{owner} = {owner};
	ret = 0;
unlock:
	spin_unlock_bh(&map->lock);
	return ret;
}}

int bpf_cgroup_storage_assign_later(struct bpf_prog_aux *aux, struct bpf_map *_map)
{{"""


@pytest.fixture
def rhel_8(tmp_path: Path) -> Path:
    """A 4.18 of RHEL 8: the owner check has the form of 5.10, without a check of the cgroup storage."""
    source, _ = kernel_source("5.10", "5.10.262-1")
    target = tmp_path / "linux-4.18"
    shutil.copytree(source, target)
    (target / "Makefile").write_bytes(makefile("4.18.0"))
    (target / "Makefile.rhelver").write_text("RHEL_MAJOR = 8\n")
    return target


@pytest.mark.parametrize(
    ("argument", "owner"), [("struct bpf_prog *prog", "prog"), ("struct bpf_prog_aux *aux", "aux"), ("", "")]
)
def test_case_14_rhel_8_shows_in_its_code_whether_storages_are_shared(rhel_8: Path, argument: str, owner: str) -> None:
    """Before Linux kernel commit 7d9c3427894f, a cgroup storage map belonged to one program (map->prog; map->aux since
    5.6).
    """
    file = rhel_8 / "kernel/bpf/local_storage.c"
    text = file.read_text()
    assert ASSIGN in text
    if owner:
        file.write_text(text.replace(ASSIGN, OLDER_ASSIGN.format(argument=argument, owner=owner)))
    expected = State.NOT_AFFECTED if owner else State.AFFECTED
    assert states(rhel_8, "tailcall-cgroup-storage-oob")["tailcall-cgroup-storage-oob"] is expected


@pytest.mark.parametrize("gone", ["kernel/bpf/local_storage.c", "kernel/bpf/verifier.c"])
def test_case_14_a_message_about_a_file_of_a_tree_does_not_ask_for_a_tree(rhel_8: Path, gone: str) -> None:
    (rhel_8 / gone).unlink()
    open_ones = [item for item in report(rhel_8).verdicts if item.state is State.UNKNOWN]
    assert open_ones
    assert not [item.settle for item in open_ones if "--tree" in (item.settle or "")]
    assert any(item.settle == f"unpack {gone} into this tree   and audit it again" for item in open_ones)


def test_case_15_a_dump_of_one_commit_gets_no_advice_to_fetch(bookworm: Path, tmp_path: Path) -> None:
    history = History(tmp_path / "dump")
    history.files = {
        str(path.relative_to(bookworm)): path.read_bytes()
        for path in bookworm.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    history.commit("Initial commit\n")
    history.checkout()
    notes = report(history.path, "freplace-loop").notes
    assert any("a dump of one commit" in note for note in notes)
    assert not any("git fetch" in note for note in notes)


def test_case_16_the_log_against_the_code_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, _ = kernel_source("6.1", "6.1.170-3")
    history = stable_branch(tmp_path / "linux", "6.1.170")
    history.commit(
        "the sources\n", {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*.[ch]")}
    )
    history.commit(backport(INTRODUCTION_6, INTRODUCTION_6_SUBJECT))
    history.commit(f"UPSTREAM: {FIX_6_SUBJECT}\n\n(cherry picked from commit {FIX_6})\n")
    history.checkout()
    found = report(history.path, "freplace-loop").verdicts[0]
    assert found.state is State.AFFECTED
    assert any("history says present" in str(text) for text in found.disagreements)
    assert main(["--tree", str(history.path), "--only", "freplace-loop", "--arch", "x86_64"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "history says present" in line]
    assert line.startswith("note: d6083f040d5d is not in the source: ")


def test_a_blobless_clone_without_tags_or_releases_gets_a_report(tmp_path: Path) -> None:
    history = History(tmp_path / "linux")
    history.commit("one\n")
    history.commit(backport(FIX_6, FIX_6_SUBJECT))
    git("config", "uploadpack.allowFilter", "true", cwd=history.path)
    git("clone", "-q", "--bare", "--filter=blob:none", f"file://{history.path}", str(tmp_path / "partial"))
    found = report(tmp_path / "partial")
    assert any("the version is unknown" in note for note in found.notes)
    assert found.states["freplace-attached-panic"] is State.UNKNOWN
