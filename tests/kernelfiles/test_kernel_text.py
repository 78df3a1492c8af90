"""Texts that people paste: which kernel they name, what they prove of it, and what they do not."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit import State, audit
from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.kernelfiles.release.parse import kernel_lines, parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import NoKernelError, ReleaseError
from tailcall_audit.analyzer.model import AuditError, Confidence, Presence, Rule

A, F, N, U = State.AFFECTED, State.FIXED, State.NOT_AFFECTED, State.UNKNOWN
SAFE = (F, N)
CLASSES = {"affected": (A,), "safe": SAFE, "unknown": (U,), "notsafe": (A, U), "notaffected": (F, N, U)}
SLUGS = {
    "1": "freplace-tailcallee",
    "2": "x86-count-offset",
    "3": "x86-trampoline-loop",
    "4": "x86-hierarchy",
    "5": "freplace-attached-panic",
    "5r": "freplace-attached-refused",
    "6": "freplace-loop",
}
STRINGS = Path(__file__).with_name("release_strings.tsv")


CATALOG = load_catalog()


def states(text: str, arch: str = "x86_64") -> dict[str, State]:
    return audit(kernels=[text], arch=arch, pitfalls=True, catalog=CATALOG).targets[0].states


class Pasted(NamedTuple):
    """A text, the architecture that is given with it, and the class of each pitfall's verdict."""

    text: str
    arch: str | None
    classes: Mapping[str, str]


def pasted() -> list[Pasted]:
    """The rows of release_strings.tsv."""
    rows = [line.split("\t", 2) for line in STRINGS.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    return [
        Pasted(
            text.replace("\\t", "\t").replace("\\e", "\x1b"),
            None if arch == "-" else arch,
            dict(pair.split(":") for pair in expected.split(",")),
        )
        for arch, expected, text in rows
    ]


@pytest.mark.parametrize("row", pasted(), ids=lambda row: row.text)
def test_a_text_that_people_paste_is_judged_as_its_kernel_is(row: Pasted) -> None:
    try:
        target = audit(kernels=[row.text], arch=row.arch, pitfalls=True, catalog=CATALOG).targets[0]
    except AuditError:
        assert {*row.classes.values()} <= {"notsafe", "unknown"}
        return
    for number, wanted in row.classes.items():
        found = [item.state for item in target.verdicts if item.defect.slug == SLUGS[number]]
        assert found, number
        assert {*found} <= {*CLASSES[wanted]}, number


@pytest.mark.parametrize(
    "text",
    [
        "Darwin Kernel Version 23.4.0",
        "Darwin h 7.2.0 Darwin Kernel Version 7.2.0: Thu",
        "FreeBSD h 7.4-RELEASE FreeBSD 7.4-RELEASE #0: Thu Feb 17 2011",
        "Microsoft Windows [Version 10.0.22631.3447]",
        "VMware ESXi 7.0.3 build-18644231",
        "CYGWIN_NT-10.0 h 3.4.6-1.x86_64 2023-02-14 13:23 UTC x86_64 Cygwin",
        "Docker version 20.10.5, build 55c4c88",
        "Server Version: 6.1.2",
        "Oracle Linux Server 7.9",
        "CentOS Linux 7.2",
        "192.168.1.1",
        "6.1.2.3",
        "8.1.2",
        "9.0",
        "6.25.1",
        "5.20",
        "4.21",
        "3.20",
        "v1.28.2",
        "10.0.2.127",
    ],
)
def test_another_things_number_is_no_kernels(text: str) -> None:
    with pytest.raises(NoKernelError):
        parse_release(text)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("Linux 5.19.0-1025-aws #26~22.04.1-Ubuntu SMP Mon Apr 24 01:58:03 UTC 2023", "5.19.0-1025-aws"),
        ("Linux 6.1.170 x86_64", "6.1.170"),
        (
            "Linux (none) 6.6.134-0-virt #1-Alpine SMP PREEMPT_DYNAMIC 2026-04-11 17:03:51 x86_64 Linux",
            "6.6.134-0-virt",
        ),
        ("[    0.000000] Linux version 6.1.170 (a@b) (gcc (Debian 12.2.0-14) 12.2.0) #1 SMP", "6.1.170"),
        ("'6.8.0-45-generic'", "6.8.0-45-generic"),
        ("6.8.0-45-generic.", "6.8.0-45-generic"),
        ("\x1b[0;32m6.6.87.2-microsoft-standard-WSL2\x1b[0m", "6.6.87.2-microsoft-standard-WSL2"),
        ("/boot/vmlinuz-6.8.0-45-generic", "6.8.0-45-generic"),
        ("BOOT_IMAGE=/boot/vmlinuz-6.8.0-45-generic root=UUID=0 ro quiet", "6.8.0-45-generic"),
        ("linux-image-unsigned-6.8.0-45-generic", "6.8.0-45-generic"),
        ("kernel-core-5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.13.1.el9_4.x86_64"),
        ('{"kernelVersion":"5.15.0-88-generic","osImage":"Ubuntu 22.04.3 LTS"}', "5.15.0-88-generic"),
        ("n Ready worker 1d v1.28.2 10.0.0.1 <none> Bottlerocket OS 1.16.0 (x) 6.1.59 containerd://1.6.24", "6.1.59"),
        ("Server Version: 27.4.0 Kernel Version: 5.15.49-linuxkit", "5.15.49-linuxkit"),
        ("10.0.2.127: 5.15.0-88-generic", "5.15.0-88-generic"),
    ],
)
def test_a_kernels_number_is_found_where_it_is_written(text: str, release: str) -> None:
    assert parse_release(text).release == release


def test_a_newer_release_of_the_newest_major_is_judged_by_its_age() -> None:
    found = states("7.9")
    assert (found["freplace-loop"], found["x86-hierarchy"]) == (F, F)
    assert any("newer than the catalogue" in note for note in audit(kernels=["7.9"]).targets[0].notes)


def test_each_line_is_a_target_in_order() -> None:
    text = "$ uname -a\nLinux h 6.1.0-18-amd64 #1 SMP Debian 6.1.76-1 (2024-02-01) x86_64 GNU/Linux\n\n6.12.94\r\nbye\n"
    found = audit(kernels=[text], only=["freplace-loop"]).targets
    assert [(target.name, target.verdicts[0].state) for target in found] == [("6.1.0-18-amd64", A), ("6.12.94", F)]


@pytest.mark.parametrize(
    "text",
    [
        "6.1.100-custom #1 SMP Debian 6.1.192-2 (2026-11-16)",
        "Linux h 6.12.94+deb13-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.12.117-1 (2026-11-12) x86_64 GNU/Linux",
        "Linux h 6.1.0-18-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16) x86_64 GNU/Linux",
        "Linux h 6.8.0-80-generic #80-Ubuntu SMP x86_64 (Ubuntu 6.8.0-90.91-generic 6.8.12)",
        "Linux h 6.1.170-0-virt #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08) x86_64 GNU/Linux",
    ],
)
def test_two_statements_that_contradict_each_other_prove_nothing(text: str) -> None:
    target = audit(kernels=[text], arch="x86_64", only=["1", "3", "5", "6", "x86-hierarchy"]).targets[0]
    verdicts = [item.state for item in target.verdicts if item.rule is not Rule.OTHER_ARCHITECTURE]
    assert set(verdicts) == {U}
    assert target.identity["upstream"] is None
    assert any("contradict each other" in note for note in target.notes)


_VERSIONS = st.builds(
    "{}.{}".format,
    st.sampled_from(["5.10", "5.15", "6.1", "6.6", "6.12"]),
    st.integers(1, 250),
)
_SUFFIXES = st.sampled_from(["", "-custom", "-0-virt", "-arch1-1", "+deb13-amd64", "-1.el9.elrepo.x86_64", "-mtk", "+"])
_FRAMES = st.sampled_from(
    [
        "{0} {1}",
        "Linux version {0} {1}",
        "Linux h {0} #1 SMP {1}",
        "{0}: {1}",
        "kernel: {0} (was {1}) {1}",
        "{0} #1 SMP Debian {1}-1",
    ]
)


@settings(deadline=None)
@given(_VERSIONS, _VERSIONS, _SUFFIXES, _SUFFIXES, _FRAMES)
def test_a_text_with_two_kernels_never_gives_one_verdict(
    first: str, second: str, left: str, right: str, frame: str
) -> None:
    if first == second:
        return
    try:
        release = parse_release(frame.format(first + left, second + right))
    except ReleaseError:
        return
    assert release.proof is Proof.NOTHING


@settings(deadline=None)
@given(_VERSIONS, _VERSIONS)
def test_a_text_of_two_lines_has_both_kernels(first: str, second: str) -> None:
    assert [parse_release(line).release for line in kernel_lines(f"{first}\n{second}")] == [first, second]


_BASES = st.sampled_from(
    ["5.14.0-427.13.1.el9_4", "4.18.0-553.el8_10", "6.4.0-150600.23.14-default", "5.10.134-19.1.al8", "5.10.0-46.uel20"]
)


@settings(deadline=None, max_examples=50)
@given(_BASES, st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789._+-", max_size=12))
def test_an_unknown_suffix_never_makes_an_enterprise_base_safe(base: str, suffix: str) -> None:
    known = states(base)
    with contextlib.suppress(ReleaseError):
        found = states(base + suffix)
        assert [slug for slug, state in found.items() if known[slug] is U and state in SAFE] == []


@settings(deadline=None, max_examples=50)
@given(_VERSIONS, st.from_regex(r"[-.][a-z]{3,8}[0-9]{0,2}", fullmatch=True))
def test_an_unknown_suffix_proves_no_commit_absent(version: str, suffix: str) -> None:
    release = parse_release(version + suffix)
    if release.distro is not None or release.local is not None:
        return
    target = audit(kernels=[version + suffix], arch="x86_64", catalog=CATALOG).targets[0]
    absent = {
        item.commit for verdict in target.verdicts for item in verdict.evidence if item.presence is Presence.ABSENT
    }
    assert absent == set()


def test_a_derivatives_abi_number_proves_the_base_alone() -> None:
    for text in ("6.1.0-kali5-amd64", "6.1.0-1parrot1-amd64"):
        release = parse_release(text)
        assert (release.proof, str(release.version), release.builds) == (Proof.BASE, "6.1", ())


def test_an_openeuler_build_is_no_eulers_build_and_builds_are_compared_whole() -> None:
    for text in (
        "5.10.0-182.0.0.95.oe2203sp3.x86_64",
        "5.10.0-182.0.0.95.h1.eulerosv2r13.x86_64",
        "5.10.0-182.0.0.95.h2571.eulerosv2r13.x86_64",
    ):
        assert states(text)["freplace-loop"] is U
    assert states("5.10.0-182.0.0.95.h2572.eulerosv2r13.x86_64")["freplace-loop"] is F


def test_a_release_candidate_in_a_mainline_builds_name_is_that_candidate() -> None:
    assert str(parse_release("6.11.0-061100rc2-generic").version) == "6.11-rc2"
    assert states("6.11.0-061100rc2-generic")["freplace-attached-refused"] is A
    assert states("6.11.0-061100rc7-generic")["freplace-attached-refused"] is F
    daily = states("6.11.0-999-generic")
    assert (daily["x86-trampoline-loop"], daily["freplace-attached-refused"], daily["freplace-loop"]) == (F, U, U)


def test_a_snapshot_lacks_what_came_in_a_later_release_only() -> None:
    found = states("6.10.0-0.rc7.20240712git43db1e03c086.62.fc41.x86_64")
    assert (found["x86-hierarchy"], found["freplace-loop"], found["x86-trampoline-loop"]) == (A, A, F)
    window = states("6.7.0-0.rc0.20231103git8f6f76a6a29f.5.fc40.x86_64")
    assert window["x86-trampoline-loop"] is U  # 2b5dcb31a19a came in that merge window
    assert window["x86-hierarchy"] is A


def test_an_ended_branch_needs_no_stable_number() -> None:
    found = states("6.4.0-4-amd64")
    assert [found[slug] for slug in ("x86-hierarchy", "freplace-attached-panic", "freplace-loop")] == [A, A, A]
    # freplace-loop begins with 6.0.18.
    assert states("6.0.0-6-amd64")["freplace-loop"] is U
    # Ubuntu's changelogs of 6.5 were not read whole.
    assert states("6.5.0-1013-oem")["freplace-loop"] is U


@pytest.mark.parametrize("kernel", ["7.9.3", "7.4-rc1", "7.5.0-1-default", "7.4.2-tyrell"])
def test_a_kernel_newer_than_the_catalogue_may_have_a_fix_that_it_does_not_know(kernel: str) -> None:
    catalog = load_catalog()
    without = [defect for defect in catalog.defects if defect.fixed is None]
    assert without
    older = audit(kernels=[str(catalog.newest_mainline)], only=[defect.slug for defect in without]).targets[0]
    newer = audit(kernels=[kernel], only=[defect.slug for defect in without]).targets[0]
    assert State.AFFECTED in {item.state for item in older.verdicts}
    assert State.AFFECTED not in {item.state for item in newer.verdicts}
    reasons = [item.reason for item in newer.verdicts if item.state is State.UNKNOWN]
    assert any("whether a fix has come since is unknown" in reason for reason in reasons)
    # What is in mainline by its age is in it.
    assert audit(kernels=[kernel], arch="x86_64", only=["6"]).targets[0].states["freplace-loop"] is State.FIXED


def test_a_debian_abi_number_decides_where_all_its_packages_agree() -> None:
    assert [build.package for build in parse_release("6.1.0-47-amd64").builds] == ["6.1.170-3"]
    assert states("6.1.0-47-amd64") == states("Debian 6.1.170-3 (2026-05-08)")
    assert [build.package for build in parse_release("5.10.0-23-amd64").builds] == [
        "5.10.179-1",
        "5.10.179-2",
        "5.10.179-3",
    ]
    # A backport keeps the number of the upload that it rebuilds: seen as 5.10.120-1~bpo10+1, 4.19.37-5+deb10u2~bpo9+1 and, in the
    # Packages of bullseye-security, 6.1.172-1~deb11u1.
    for backport, package in (("6.1.0-0.deb11.48-amd64", "6.1.172-1"), ("5.10.0-0.bpo.15-amd64", "5.10.120-1")):
        assert [build.package for build in parse_release(backport).builds] == [package]
    line = "Linux h 5.10.0-0.bpo.15-amd64 #1 SMP Debian 5.10.120-1~bpo10+1 (2022-06-13) x86_64 GNU/Linux"
    assert str(parse_release(line).version) == "5.10.120"
    # Another upload's backport contradicts the number.
    other = line.replace("5.10.120-1~", "5.10.127-1~")
    assert "contradict" in parse_release(other).notes[0]
    # The newest number that was surveyed is open: another upload may keep it.
    assert parse_release("6.1.0-56-amd64").builds == ()
    confidence = {item.confidence for item in audit(kernels=["6.1.0-18-amd64"], only=["6"]).targets[0].verdicts}
    assert confidence == {Confidence.MEDIUM}


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("6.8.0-35-generic", "--package linux-image-unsigned-6.8.0-35-generic=VERSION --distro ubuntu"),
        (
            "Linux h 6.8.0-35-generic #35-Ubuntu SMP",
            "linux-image-unsigned-6.8.0-35-generic=6.8.0-35.35 --distro ubuntu",
        ),
        ("6.8.0-1004-raspi", "--package linux-image-6.8.0-1004-raspi=VERSION --distro ubuntu"),
        ("6.1.0-99-amd64", "--package linux-image-6.1.0-99-amd64=VERSION --distro debian"),
        ("5.14.0-427.13.1.el9_4.x86_64+rt", "--package kernel-rt-core-5.14.0-427.13.1.el9_4.x86_64 "),
        ("5.14.0-427.13.1.el9_4.x86_64", "--package kernel-core-5.14.0-427.13.1.el9_4.x86_64 "),
        ("6.4.0-150600.23.14-azure", "--package kernel-azure "),
        ("5.15.0-204.147.6.2.el9uek.x86_64", "--package kernel-uek-core-5.15.0-204.147.6.2.el9uek.x86_64 "),
    ],
)
def test_to_settle_names_the_package_of_the_flavour_and_our_own_command_first(text: str, command: str) -> None:
    settle = str(parse_release(text).settle)
    assert settle.startswith("tailcall-audit --package ")
    assert command in settle


def test_every_source_of_a_distribution_and_every_order_is_its_own() -> None:
    distributions = load_catalog().distributions
    assert len(distributions) > 40
    assert len({entry.name for entry in distributions}) == len(distributions)
    assert {entry.name for entry in distributions if entry.build_dates} == {"ubuntu"}
