"""Folders of patches without sources: SUSE's kernel-source, a .spec with its patches, a debian/ folder (case 12 of the
real trees).
"""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.model import TargetReport
from tailcall_audit.analyzer.subjects.git_repository import TreeError
from tests.repositories import FIX_3, FIX_3_SUBJECT, FIX_6, FIX_6_SUBJECT, History, git

PANIC = "f7866c35873377313ff94398f17d425b28b71de1"
PANIC_SUBJECT = "bpf: Fix null pointer dereference in resolve_prog_type() for\n BPF_PROG_TYPE_EXT"
SLUGS = ("x86-trampoline-loop", "freplace-attached-panic", "freplace-loop")


def suse_patch(identifier: str, subject: str) -> bytes:
    """A patch with the header of SUSE's kernel-source."""
    header = f"From: A <a@example.org>\nDate: Mon, 15 Jul 2024 22:33:27 +0800\nSubject: {subject}\n"
    header += f"Patch-mainline: v6.11-rc1\nGit-commit: {identifier}\nReferences: bsc#1229482 CVE-2024-43837\n"
    return f"{header}\nText.\n\nAcked-by: B <b@suse.com>\n---\n kernel/bpf/arraymap.c |    2 +-\n".encode()


def write(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def report(path: Path, rev: str | None = None, only: tuple[str, ...] = SLUGS) -> TargetReport:
    return audit(trees=[str(path)], rev=rev, arch="x86_64", only=only).targets[0]


def states(path: Path) -> tuple[State, ...]:
    found = report(path).states
    return tuple(found[slug] for slug in SLUGS)


SUSE: dict[str, bytes | str] = {
    "rpm/config.sh": "# The version of the main tarball to use\nSRCVERSION=6.4\n# variant of the package\nVARIANT=\n",
    "series.conf": "# Kernel patches configuration file\n\t####\n\tpatches.suse/loop.patch\n\tpatches.suse/panic.patch\n",
    "patches.suse/loop.patch": suse_patch(FIX_3, FIX_3_SUBJECT),
    "patches.suse/panic.patch": suse_patch(PANIC, PANIC_SUBJECT),
    "patches.suse/freplace.patch": suse_patch(FIX_6, FIX_6_SUBJECT),
}
FIXED, UNKNOWN = State.FIXED, State.UNKNOWN


def test_case_12_suses_base_and_patches_are_judged(tmp_path: Path) -> None:
    found = report(write(tmp_path, SUSE))
    assert found.identity["upstream"] == "6.4"
    assert found.identity["distro"] == "suse"
    assert states(tmp_path) == (FIXED, FIXED, UNKNOWN)
    assert any("series.conf lists 2 patches; 2 are about commits" in note for note in found.notes)
    settle = {item.settle for item in found.verdicts if item.state is UNKNOWN}
    assert settle == {
        "tailcall-audit --tree PATH   on the sources with these patches applied (scripts/sequence-patch.sh)"
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("patches.suse/freplace.patch", FIXED),
        ("+rt patches.suse/freplace.patch", UNKNOWN),  # with a symbol only
        ("-vanilla patches.suse/freplace.patch", UNKNOWN),
        ("- patches.suse/freplace.patch", UNKNOWN),  # never
        (
            "patches.suse/freplace.patch -R",
            UNKNOWN,
        ),  # quilt takes it back; what the base has of it is not known to be all
        ("# patches.suse/freplace.patch", UNKNOWN),
        ("patches.suse/elsewhere.patch", UNKNOWN),
        ("../patches.suse/freplace.patch", UNKNOWN),
    ],
)
def test_case_12_a_guard_decides_whether_a_patch_is_in(tmp_path: Path, line: str, expected: State) -> None:
    series = f"{SUSE['series.conf']!s}\t{line}\n"
    write(tmp_path, SUSE | {"series.conf": series})
    found = states(tmp_path)[2]
    assert found is expected if expected is FIXED else found is not FIXED


def test_case_12_a_patch_that_reverts_a_fix_takes_it_back(tmp_path: Path) -> None:
    revert = suse_patch(FIX_6, f'Revert "{FIX_6_SUBJECT}"')
    series = f"{SUSE['series.conf']!s}\tpatches.suse/freplace.patch\n\tpatches.suse/back.patch\n"
    write(tmp_path, SUSE | {"series.conf": series, "patches.suse/back.patch": revert})
    assert states(tmp_path)[2] is State.AFFECTED


def test_case_12_a_commit_of_a_clone_is_read_as_the_folder_is(tmp_path: Path) -> None:
    history = History(tmp_path / "kernel-source")
    history.files = {name: data.encode() if isinstance(data, str) else data for name, data in SUSE.items()}
    history.commit("patches\n")
    for path, rev in ((history.path, None), (history.path, "HEAD")):
        assert report(path, rev).states["freplace-attached-panic"] is FIXED
    history.checkout()
    (history.path / "series.conf").write_text("patches.suse/loop.patch\n")
    assert report(history.path).states["freplace-attached-panic"] is UNKNOWN  # what is on disk
    assert report(history.path, "HEAD").states["freplace-attached-panic"] is FIXED
    git("clone", "-q", "--bare", str(history.path), str(tmp_path / "bare.git"))
    assert report(tmp_path / "bare.git").states["freplace-attached-panic"] is FIXED


SPEC = """%global debug_package %{{nil}}
Name:           linux
Version:        6.1.83
Release:        9%{{?dist}}
Source0: linux-%{{version}}.tar.xz
Patch200: 0001-bpf-Prevent-tailcall-infinite-loop-caused-by-freplac.patch
{more}
%prep
%setup -q -n linux-%{{version}}
{prep}

%build
make
%changelog
* Thu Jan 30 2025 N N <n@example.org> 6.1.83-9
- Fix CVE-2024-47794
"""
MAIL = f"From: A\nDate: x\nSubject: [PATCH 1/2] {FIX_6_SUBJECT}\n\nText.\n---\n".encode()


@pytest.mark.parametrize(
    ("prep", "expected"),
    [
        ("%autopatch -p1", FIXED),
        ("%autopatch -p1 -m0 -M200", FIXED),
        ("%patch200 -p1", FIXED),
        ("%patch -P 200 -p1", FIXED),
        ("for p in %{patches}; do patch -p1 < $p; done", FIXED),
        ("%autopatch -p1 -m0 -M100", UNKNOWN),  # not this one
        ("%patch201 -p1", UNKNOWN),
        ("%if 0%{?acvp_build:1}\n%patch200 -p1\n%endif", UNKNOWN),  # in some builds
        ("%autosetup -N", UNKNOWN),  # unpacks without patching
        ("", UNKNOWN),
    ],
)
def test_case_12_a_spec_s_patch_counts_if_prep_applies_it(tmp_path: Path, prep: str, expected: State) -> None:
    """Photon's form. The patch and the CVE in the changelog are hints: they forbid *affected* in every case."""
    files: dict[str, bytes | str] = {
        "linux.spec": SPEC.format(more="", prep=prep),
        "0001-bpf-Prevent-tailcall-infinite-loop-caused-by-freplac.patch": MAIL,
        "bash.spec": "Name: bash\nVersion: 5.2\nRelease: 1\n",
    }
    found = report(write(tmp_path, files))
    assert found.identity["upstream"] == "6.1.83"
    assert found.states["freplace-loop"] is expected


def test_case_12_a_spec_without_a_changelog_is_judged_by_its_fields(tmp_path: Path) -> None:
    text = SPEC.format(more="", prep="%autopatch -p1").split("%changelog")[0]
    found = report(write(tmp_path, {"kernel.spec": text}))
    assert found.identity["upstream"] == "6.1.83"
    assert found.states["x86-trampoline-loop"] is FIXED  # in 6.1.72
    assert found.states["freplace-loop"] is UNKNOWN


def test_case_12_openela_9_2_is_judged_by_its_whole_spec(tmp_path: Path, lab: Path) -> None:
    """The newest entry's version is a macro; the fields name the build, and an older entry its suffix."""
    packed = lab / "changelogs/real/openela-el-9.2.kernel.spec.xz"
    spec = tmp_path / "kernel.spec"
    spec.write_bytes(lzma.decompress(packed.read_bytes()))
    by_changelog = audit(changelog=str(spec), arch="x86_64", only=SLUGS).targets[0]
    assert by_changelog.identity["release"] == "5.14.0-284.30.1.el9_2"
    assert by_changelog.identity["distro"] == "rhel"
    # The catalogue's own survey of this file: 2b5dcb31a19a is not listed, ff672c67ee76 is.
    assert by_changelog.states["x86-trampoline-loop"] is State.AFFECTED
    assert audit(changelog=str(spec), arch="x86_64", only=["2"]).targets[0].states == {"x86-count-offset": FIXED}
    assert report(tmp_path).states == by_changelog.states


DEBIAN: dict[str, bytes | str] = {
    "debian/changelog": "linux (6.1.170-3) bookworm; urgency=medium\n\n  * x\n\n -- N N <n@example.org>  Fri, 08 May 2026 10:00:00 +0000\n",
    "debian/patches/series": "# patches\nbugfix/all/freplace.patch\n",
    "debian/patches/bugfix/all/freplace.patch": f"From: A\nSubject: {FIX_6_SUBJECT}\nOrigin: https://git.kernel.org/linus/{FIX_6}\n\nx\n---\n",
}


@pytest.mark.parametrize(("form", "expected"), [("3.0 (quilt)\n", FIXED), ("1.0\n", UNKNOWN), (None, UNKNOWN)])
def test_case_12_a_debian_folder_is_judged_by_its_changelog_and_series(
    tmp_path: Path, form: str | None, expected: State
) -> None:
    """A source package of the form 3.0 (quilt) is built with its whole series; the older form applies it as its rules
    say.
    """
    write(tmp_path, DEBIAN | ({} if form is None else {"debian/source/format": form}))
    found = report(tmp_path)
    assert found.identity["upstream"] == "6.1.170"
    assert found.identity["distro"] == "debian"
    assert found.states["freplace-loop"] is expected
    write(tmp_path, {"debian/patches/series": ""})
    assert report(tmp_path).states["freplace-loop"] is State.AFFECTED  # as --kernel 6.1.0-47-amd64 and its package


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"series.conf": "patches.suse/x.patch\n"}, r"no rpm/config\.sh"),
        ({"series.conf": "x\n", "rpm/config.sh": "SRCVERSION=\n"}, r"no rpm/config\.sh"),
        ({"bash.spec": "Name: bash\nVersion: 5.2\nRelease: 1\n"}, r"bash\.spec is no kernel's"),
        ({"kernel.spec": "Name: kernel\nVersion: %{v}\nRelease: 1\n"}, r"does not show its version"),
        ({"debian/changelog": DEBIAN["debian/changelog"].replace("linux (", "bash (")}, "cannot be read as a kernel's"),  # type: ignore[arg-type]
        ({"README": "x"}, "not a kernel tree"),
    ],
)
def test_case_12_what_names_no_base_says_what_to_give(
    tmp_path: Path, files: dict[str, bytes | str], words: str
) -> None:
    with pytest.raises(TreeError, match=words):
        report(write(tmp_path, files))
