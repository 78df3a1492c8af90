"""Changelogs of the distributions: real excerpts, what they prove, and what their silence does not."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest

from tailcall_audit import AuditError, State, audit
from tailcall_audit.analyzer.kernelfiles.changelog.debian import parse_debian
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import TargetReport, Verdict
from tests import zstd
from tests.kernels import package_file

FIX_3 = "bpf, x64: Fix tailcall infinite loop"
FIX_4 = "bpf, x64: Fix tailcall hierarchy"
FIX_6 = "bpf: Prevent tailcall infinite loop caused by freplace"
INTRODUCTION_6 = "bpf: Resolve fext program type when checking map compatibility"


def debian(entries: list[tuple[str, str]], tail: str = "") -> str:
    """A Debian changelog of (version, body) entries, newest first."""
    return (
        "\n".join(
            f"linux ({version}) unstable; urgency=medium\n\n{body}\n -- A Developer <a@debian.org>  Mon, 01 Jan 2024 00:00:00 +0000\n"
            for version, body in entries
        )
        + tail
    )


def update(version: str, *subjects: str) -> str:
    """A stable update with its subjects."""
    return (
        f"  * New upstream stable update:\n    https://www.kernel.org/pub/linux/kernel/v6.x/ChangeLog-{version}\n"
        + "".join(f"    - {subject}\n" for subject in subjects)
    )


def report(tmp_path: Path, text: str | bytes, version: str | None = None, **more: str) -> TargetReport:
    path = tmp_path / "changelog"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return audit(changelog=str(path), package_version=version, arch="x86_64", **more).targets[0]  # type: ignore[arg-type]


def verdict(tmp_path: Path, text: str, slug: str, version: str | None = None) -> Verdict:
    return next(item for item in report(tmp_path, text, version).verdicts if item.defect.slug == slug)


# --------------------------------------------------------------------------------------------------------- evidence
OLDER = ("6.0.3-1", "  * older\n")


def test_a_listed_fix_is_present_with_its_line(tmp_path: Path) -> None:
    text = debian([("6.1.192-1", update("6.1.191", f"{FIX_6} (CVE-2024-47794)")), OLDER])
    item = verdict(tmp_path, text, "freplace-loop")
    assert item.state is State.FIXED
    assert any(
        f"{tmp_path}/changelog:5" in evidence.citation
        for evidence in item.evidence
        if evidence.kind.value == "changelog"
    )


def test_the_audited_version_may_stand_in_the_middle(tmp_path: Path) -> None:
    text = debian([("6.1.192-1", update("6.1.191", FIX_6)), ("6.1.170-3", "  * x\n"), OLDER])
    assert verdict(tmp_path, text, "freplace-loop", "6.1.170-3").state is State.AFFECTED
    assert verdict(tmp_path, text, "freplace-loop").state is State.FIXED
    with pytest.raises(ChangelogError, match=r"no entry of version 6\.1\.171-1; the newest are 6\.1\.192-1"):
        report(tmp_path, text, "6.1.171-1")


def test_a_fix_of_an_older_series_is_history_and_no_backport(tmp_path: Path) -> None:
    text = debian([("6.6.10-1", "  * New upstream release\n"), ("6.5.13-1", update("6.5.12", FIX_3)), OLDER])
    item = verdict(tmp_path, text, "x86-trampoline-loop")
    assert not any(
        evidence.kind.value == "changelog" and evidence.commit == "2b5dcb31a19a" for evidence in item.evidence
    )


def test_a_revert_in_the_changelog_takes_the_fix_back(tmp_path: Path) -> None:
    listed = ("6.1.72-1", update("6.1.72", FIX_3))
    text = debian([("6.1.80-2", f'  * Revert "{FIX_3}"\n'), listed, OLDER])
    item = verdict(tmp_path, text, "x86-trampoline-loop")
    assert item.state is State.AFFECTED
    assert any("release says present" in str(said) for said in item.disagreements)
    text = debian(
        [("6.1.80-3", f'  * Revert "Revert "{FIX_3}""\n'), ("6.1.80-2", f'  * Revert "{FIX_3}"\n'), listed, OLDER]
    )
    assert verdict(tmp_path, text, "x86-trampoline-loop").state is State.FIXED


def test_debians_rewritten_subject_is_matched_by_its_tag(tmp_path: Path) -> None:
    text = debian([("6.5.6-1", update("6.5.4", "[s390x] bpf: Pass through tail call counter in trampolines")), OLDER])
    path = tmp_path / "changelog"
    path.write_text(text)
    item = audit(changelog=str(path), arch="s390x", only=["s390-trampoline-tcc"]).targets[0].verdicts[0]
    assert any(evidence.kind.value == "changelog" for evidence in item.evidence)


@pytest.mark.parametrize("subject", [f"{FIX_6} again", f"selftests/bpf: {FIX_6}", f'libbpf: "{FIX_6}"', FIX_6[:-9]])
def test_a_subject_matches_whole_or_not_at_all(tmp_path: Path, subject: str) -> None:
    text = debian([("6.1.170-1", update("6.1.170", subject)), OLDER])
    assert verdict(tmp_path, text, "freplace-loop").state is State.AFFECTED


def test_a_hole_is_named(tmp_path: Path) -> None:
    text = debian([("6.11.2-1", update("6.11.1") + update("6.11.2")), ("6.10.1-1", "  * x\n")])
    found = report(tmp_path, text)
    assert any("lists no subject of 6.11.1, 6.11.2" in note for note in found.notes)
    # Debian's version is the stable release, and 6.11.2 has the fix of pitfall 4 by the catalogue.
    assert {item.defect.slug: item.state for item in found.verdicts}["x86-hierarchy"] is State.FIXED


def test_a_trimmed_changelog_says_how_far_it_goes(tmp_path: Path) -> None:
    text = debian([("7.2.13-1", "  * x\n")], "\n# Older entries have been removed from this changelog.\n")
    assert any("within the series" in note and "removed" in note for note in report(tmp_path, text).notes)


def rhel(*entries: tuple[str, list[str]]) -> str:
    return "".join(
        f"* Wed Feb 21 2024 A B <a@redhat.com> [{version}]\n"
        + "".join(f"- {subject} (A B) [RHEL-1]\n" for subject in subjects)
        + "\n"
        for version, subjects in entries
    )


def test_a_complete_rhel_changelog_decides_both_ways(tmp_path: Path) -> None:
    text = rhel(
        ("5.14.0-427.13.1.el9_4", ["net: x"]),
        ("5.14.0-425.el9", [FIX_3]),
        ("5.14.0-100.el9", [INTRODUCTION_6]),
        ("5.14-1", ["base"]),
    )
    states = {item.defect.slug: item.state for item in report(tmp_path, text).verdicts}
    assert states["x86-trampoline-loop"] is State.FIXED
    assert states["x86-hierarchy"] is State.AFFECTED
    assert states["freplace-loop"] is State.AFFECTED  # the introduction is listed on a 5.14 base, the fix is not
    # The catalogue knows from another changelog that el9 has 4a9c7bbe2ed4 by this build; that this file is silent comes last.
    assert states["freplace-attached-panic"] is State.AFFECTED


@pytest.mark.parametrize("subjects", [[FIX_3, f'Revert "{FIX_3}"'], [f'Revert "{FIX_3}"', FIX_3]])
def test_an_rpm_entry_that_lists_a_fix_and_its_revert_decides_nothing(tmp_path: Path, subjects: list[str]) -> None:
    # By the catalogue el9 has the fix from -425 on; what this package says of itself comes first.
    older = ("5.14.0-425.el9", [FIX_3])
    first = ("5.14-1", ["base"])
    mixed = verdict(tmp_path, rhel(("5.14.0-426.el9", subjects), older, first), "x86-trampoline-loop")
    assert mixed.state is State.UNKNOWN
    # A later entry has the last word.
    settled = rhel(("5.14.0-427.el9", [FIX_3]), ("5.14.0-426.el9", subjects), older, first)
    assert verdict(tmp_path, settled, "x86-trampoline-loop").state is State.FIXED


def test_a_trimmed_rpm_changelog_proves_no_absence(tmp_path: Path) -> None:
    text = rhel(("5.14.0-503.11.1.el9_5", ["net: x"]), ("5.14.0-503.el9_5", ["net: y"]))
    states = {item.defect.slug: item.state for item in report(tmp_path, text).verdicts}
    assert states["x86-hierarchy"] is State.UNKNOWN
    assert states["freplace-loop"] is State.UNKNOWN


def test_a_distribution_that_lists_no_subjects_falls_back_to_the_release(tmp_path: Path) -> None:
    text = "* Thu Aug 06 2026 J F <j@fedoraproject.org> [7.1.7-200.fc44]\n- Linux v7.1.7\n"
    found = report(tmp_path, text)
    assert found.identity["upstream"] == "7.1.7"
    assert {item.defect.slug: item.state for item in found.verdicts}["freplace-loop"] is State.FIXED
    assert any("does not list their subjects" in note for note in found.notes)


def ubuntu(*entries: tuple[str, str]) -> str:
    return "\n".join(
        f"linux ({version}) jammy; urgency=medium\n\n{body}\n -- A <a@canonical.com>  Fri, 14 Nov 2025 17:49:39 +0100\n"
        for version, body in entries
    )


def test_ubuntus_base_moves_with_the_stable_releases_rolled_in(tmp_path: Path) -> None:
    text = ubuntu(
        (
            "5.15.0-163.173",
            "  * Jammy update: v5.15.193 upstream stable release (LP: #2)\n    - net: x\n    - Linux 5.15.193\n",
        ),
        (
            "5.15.0-160.170",
            "  * Jammy update: v5.15.50 upstream stable release (LP: #1)\n    - net: y\n    - Linux 5.15.50\n",
        ),
    )
    assert report(tmp_path, text).identity["upstream"] == "5.15.193"
    assert report(tmp_path, text, "5.15.0-160.170").identity["upstream"] == "5.15.50"
    assert {item.defect.slug: item.state for item in report(tmp_path, text).verdicts}["x86-count-offset"] is State.FIXED
    # Ubuntu may have picked the fix, and this file does not reach the base release.
    assert {item.defect.slug: item.state for item in report(tmp_path, text).verdicts}[
        "x86-trampoline-loop"
    ] is State.UNKNOWN


@pytest.mark.parametrize(
    ("heading", "expected"),
    [("v6.8.1 upstream stable release", "affected"), ("upstream stable patchset 2026-07-09", "unknown")],
)
def test_an_ubuntu_patchset_without_a_version_may_be_partial_and_proves_no_absence(
    tmp_path: Path, heading: str, expected: str
) -> None:
    text = ubuntu(
        ("6.8.0-20.20", f"  * Noble update: {heading} (LP: #2)\n    - net: x\n"),
        ("6.8.0-1.1", "  * New upstream release\n"),
        ("6.5.0-9.9", "  * older\n"),
    )
    assert verdict(tmp_path, text, "x86-hierarchy").state.value == expected
    named = any("names no release" in note for note in report(tmp_path, text).notes)
    assert named is (expected == "unknown")


def test_the_real_debian_changelog_agrees_with_the_catalogue() -> None:
    changelog = read_package(str(package_file("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"))).changelog
    assert changelog is not None
    name, data = changelog
    entry = next(entry for entry in parse_debian(data.decode(), name).entries if entry.version == "6.1.192-1")
    assert FIX_6 in [item.subject for item in entry.items]


@pytest.mark.parametrize(
    "pack",
    [gzip.compress, lzma.compress, zstd.compress],
    ids=["gz", "xz", "zst"],
)
def test_compressed_changelogs_are_read(tmp_path: Path, pack: object) -> None:
    text = debian([("6.1.192-1", update("6.1.191", FIX_6)), OLDER]).encode()
    assert report(tmp_path, pack(text)).identity["upstream"] == "6.1.192"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a changelog"),
        (b"hello\n" * 10, "not a changelog"),
        (b"\xff\xfe\x00" * 100, "not a changelog"),
        (b"\n" * 3_000_000, "not a changelog"),
        (gzip.compress(b"\0" * (80 << 20)), "unpacks to more than"),
        (b"\xfd7zXZ\x00broken", "broken xz data"),
        (b"\x28\xb5\x2f\xfdbroken", "broken zstd data"),
    ],
    ids=["empty", "text", "binary", "blank", "bomb", "xz", "zstd"],
)
def test_what_is_no_changelog_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(AuditError, match=message) as error:
        report(tmp_path, content)
    assert "\n" not in str(error.value)


def test_escapes_in_a_subject_do_not_reach_the_report(tmp_path: Path) -> None:
    text = debian([("6.1.192-1", update("6.1.191", f"{FIX_6}") + "  * \x1b]0;owned\x07 x\n"), OLDER])
    found = report(tmp_path, text)
    assert all(
        "\x1b" not in item.reason + "".join(entry.detail + entry.citation for entry in item.evidence)
        for item in found.verdicts
    )


def test_an_entry_without_a_date_is_kept(tmp_path: Path) -> None:
    text = f"linux (6.1.192-1) unstable; urgency=low\n\n{update('6.1.191', FIX_6)}\n\nlinux (6.0.1-1) unstable; urgency=low\n\n  * x\n"
    assert parse_debian(text, "x").entries[0].date is None
    assert verdict(tmp_path, text, "freplace-loop").state is State.FIXED
