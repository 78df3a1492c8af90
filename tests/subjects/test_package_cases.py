"""Cases from real packages, changelogs, configurations and repositories, S1 to S16: each stands for its kind, with a
sibling or two.
"""

from __future__ import annotations

import lzma
from pathlib import Path

import lz4.frame
import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.model import AuditError, Rule, TargetReport
from tests.kernelfiles.test_archives import deb, tar
from tests.mutants import debian_image
from tests.subjects.test_config import HEADER, REST, USUAL

AFFECTED, FIXED, NOT_AFFECTED, UNKNOWN = State.AFFECTED, State.FIXED, State.NOT_AFFECTED, State.UNKNOWN
PANIC, REFUSED, LOOP = "freplace-attached-panic", "freplace-attached-refused", "freplace-loop"
LATER = (PANIC, REFUSED, LOOP)
"""Defects that came or were mended by backports after 6.1.0: what a stable release number decides."""


def by_changelog(path: Path, text: str, version: str | None = None, arch: str = "x86_64") -> TargetReport:
    path.write_text(text)
    return audit(changelog=str(path), package_version=version, arch=arch).targets[0]


def by_config(path: Path, text: str, *only: str) -> TargetReport:
    path.write_text(text)
    return audit(config=str(path), only=only).targets[0]


def entry(day: str, version: str, *items: str) -> str:
    return "\n".join([f"* {day} N N <n@example.org> - {version}", *(f"- {item}" for item in items), "", ""])


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("5.10.0-182.0.0.95.oe2203sp3.x86_64", UNKNOWN),  # openEuler, a year older than the fix
        ("5.10.0-182.0.0.95.h1.eulerosv2r13.x86_64", UNKNOWN),
        ("5.10.0-182.0.0.95.h2571.eulerosv2r13.x86_64", UNKNOWN),
        ("5.10.0-182.0.0.95.h25720.eulerosv2r13.x86_64", UNKNOWN),
        ("5.10.0-182.0.0.95.h2572.eulerosv2r13.x86_64", FIXED),  # the build of the fact
    ],
)
def test_case_s1_an_exact_build_is_compared_whole(kernel: str, expected: State) -> None:
    assert audit(kernels=[kernel], only=[LOOP]).targets[0].states[LOOP] is expected


ARMBIAN = b"Package: linux-image-legacy-meson64\nVersion: 24.2.1\nSource: linux-6.1.77\nArchitecture: arm64\n"


def test_case_s2_armbians_version_is_not_the_kernels(tmp_path: Path) -> None:
    found = audit(packages=[str(deb(tmp_path / "it.deb", tar(), ARMBIAN))]).targets[0]
    assert found.identity["upstream"] == "6.1.77"
    assert found.states[LOOP] is UNKNOWN
    for version in (b"24.2.1", b"99.1.1"):
        control = ARMBIAN.replace(b"24.2.1", version).replace(b"linux-6.1.77", b"linux")
        with pytest.raises(AuditError, match="not that of a kernel"):
            audit(packages=[str(deb(tmp_path / "it.deb", tar(), control))])


@pytest.mark.parametrize(
    "text",
    [
        HEADER.format("x86", "6.1.170") + "CONFIG_64BIT=y\nCONFIG_X86_64=y\nCONFIG_NET=y\nCONFIG_BPF_SYSCA",
        HEADER.format("x86", "6.1.170") + USUAL.replace("CONFIG_BPF_SYSCALL=y\n", "") + REST[:3000],
        (HEADER.format("x86", "6.1.170") + USUAL.replace("BPF_SYSCALL=y\n", "NFS=m\n") + REST)[:-1],
    ],
)
def test_case_s3_a_cut_configuration_excludes_nothing(tmp_path: Path, text: str) -> None:
    assert NOT_AFFECTED not in by_config(tmp_path / "config", text, "x86-hierarchy", LOOP).states.values()


@pytest.mark.parametrize("line", ["CONFIG_BPF_SYSCALL = y", "CONFIG_BPF_SYSCALL y", " CONFIG_BPF_SYSCALL=y"])
def test_case_s4_a_line_that_cannot_be_read_excludes_nothing(tmp_path: Path, line: str) -> None:
    text = HEADER.format("x86", "6.1.170") + USUAL.replace("CONFIG_BPF_SYSCALL=y", line) + REST
    found = by_config(tmp_path / "config", text, "4")
    assert found.states["x86-hierarchy"] is not NOT_AFFECTED


SIGNATURE = "Ubuntu 6.8.0-90.91-generic 6.8.12"


def test_case_s5_a_signature_in_a_configuration_counts_as_in_a_release_string(tmp_path: Path) -> None:
    option = f'CONFIG_VERSION_SIGNATURE="{SIGNATURE}"\n'
    text = HEADER.format("x86", "6.8.12") + USUAL + option + REST
    assert by_config(tmp_path / "config", text).states == audit(kernels=[SIGNATURE], arch="x86_64").targets[0].states


def debian_entry(package: str, version: str, text: str) -> str:
    return f"{package} ({version}) bullseye; urgency=medium\n\n  * {text}\n\n -- N N <n@example.org>  Mon, 03 Nov 2025 10:00:00 +0000\n"


PVE = b"Package: proxmox-kernel-6.8.12-15-pve-signed\nVersion: 6.8.12-15\nArchitecture: amd64\n"


def test_case_s6_proxmox_is_not_debian(tmp_path: Path) -> None:
    text = debian_entry("pve-kernel", "5.15.158-2", "update sources to Ubuntu-5.15.0-115.125, based on 5.15.158")
    found = by_changelog(tmp_path / "changelog", text)
    assert found.identity["distro"] == "proxmox"
    assert {found.states[slug] for slug in LATER} == {UNKNOWN}
    package = audit(packages=[str(deb(tmp_path / "it.deb", tar(), PVE))]).targets[0]
    assert package.identity["distro"] == "proxmox"
    assert {package.states[slug] for slug in LATER} == {UNKNOWN}
    (tmp_path / "Packages").write_bytes(PVE)
    row = audit(repository=str(tmp_path / "Packages")).targets[0]
    assert {row.states[slug] for slug in LATER} == {UNKNOWN}


@pytest.mark.parametrize(
    "item", ["update kernel-rt version to 6.6.0-64.0.0.5", "Rebase kernel to 6.6.43", "Upgrade to 6.6.0-64.0.0"]
)
def test_case_s7_a_jump_without_its_list_is_a_hole(tmp_path: Path, item: str) -> None:
    text = entry("Mon Dec 16 2024", "6.6.0-64.0.0.5", item)
    text += entry("Tue Dec 5 2023", "6.6.0-1.0.0.1", "bpf, x64: Fix tailcall infinite loop")
    found = by_changelog(tmp_path / "changelog", text)
    assert {found.states[slug] for slug in LATER} == {UNKNOWN}
    assert any(item in note and "does not list" in note for note in found.notes)


ROW = "Package: linux-image-6.1.0-50-amd64\nVersion: 6.1.176-1\nArchitecture: amd64\nSource: linux-signed-amd64 (6.1.176+1)\n"


@pytest.mark.parametrize("arch", ["alpha", "m68k", "unheard-of"])
def test_case_s8_an_architecture_that_is_not_audited_is_no_internal_error(
    tmp_path: Path, arch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = f"Package: linux-image-6.1.0-50-{arch}-generic\nVersion: 6.1.176-1\nArchitecture: {arch}\n"
    (tmp_path / "Packages").write_text(f"{other}\n{ROW}")
    assert main(["--repo", str(tmp_path / "Packages"), "--only", LOOP]) in (0, 1, 3)
    out = capsys.readouterr().out
    assert "linux-image-6.1.0-50-amd64 6.1.176-1 x86_64" in out


CHANGES = f"{'-' * 67}\nMon Nov  3 10:00:00 CET 2025 - n@example.org\n\n- bpf, x64: Fix tailcall infinite loop (git-fixes).\n- commit 1234567\n"


def test_case_s9_a_changes_file_is_audited_as_the_build_that_is_named(tmp_path: Path) -> None:
    found = by_changelog(tmp_path / "kernel.changes", CHANGES, "5.14.21-150500.55.73")
    assert found.identity["distro"] == "suse"
    assert found.states["x86-trampoline-loop"] is FIXED
    assert {found.states[slug] for slug in LATER} == {UNKNOWN}
    with pytest.raises(AuditError, match="with package_version"):
        by_changelog(tmp_path / "kernel.changes", CHANGES)


def test_case_s11_without_jit_and_events_no_program_has_a_prototype_to_compare(tmp_path: Path) -> None:
    off = USUAL.replace("CONFIG_BPF_JIT=y", "# CONFIG_BPF_JIT is not set").replace("CONFIG_BPF_EVENTS=y\n", "")
    slug = "tailcall-compat-attach-func-proto"
    assert (
        by_config(tmp_path / "config", HEADER.format("x86", "5.10.252") + off + REST, slug).states[slug] is NOT_AFFECTED
    )


def test_case_s12_an_image_is_audited_with_its_configuration(tmp_path: Path) -> None:
    image = str(debian_image("vmlinuz-6.1.0-47-cloud-amd64"))
    config = tmp_path / "config-6.1.0-47-cloud-amd64"
    off = USUAL.replace("CONFIG_BPF_SYSCALL=y", "# CONFIG_BPF_SYSCALL is not set")
    for text, expected in ((USUAL, AFFECTED), (off, NOT_AFFECTED)):
        config.write_text(HEADER.format("x86", "6.1.170") + text + REST)
        found = audit(images=[image], config=str(config), only=[LOOP], emulate=False).targets[0]
        assert found.states[LOOP] is expected


RPT = "Package: linux-image-6.6.51+rpt-rpi-v8\nVersion: 1:6.6.51-1+rpt3\nArchitecture: arm64\nSource: linux\n"
NO_VERSION = "Package: linux-image-6.1.0-51-arm64\nVersion: latest\nArchitecture: arm64\nSource: linux\n"


def test_case_s13_one_row_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "Packages").write_text(f"{RPT}\n{NO_VERSION}\n{ROW}")
    report = audit(repository=str(tmp_path / "Packages"), only=[LOOP])
    names = {item.name.split()[0]: item.identity["upstream"] for item in report.targets}
    assert names == {"linux-image-6.6.51+rpt-rpi-v8": "6.6.51", "linux-image-6.1.0-50-amd64": "6.1.176"}
    assert [item.label.split()[0] for item in report.skipped] == ["linux-image-6.1.0-51-arm64"]


APT = "deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages"


@pytest.mark.parametrize("name", ["index", APT, "Packages.old"])
@pytest.mark.parametrize("pack", [bytes, lzma.compress, lz4.frame.compress])
def test_case_s14_an_index_is_known_by_its_content(tmp_path: Path, name: str, pack: object) -> None:
    assert callable(pack)
    (tmp_path / name).write_bytes(pack(ROW.encode()))
    found = audit(repository=str(tmp_path / name), only=[LOOP]).targets[0]
    assert found.states[LOOP] is AFFECTED


@pytest.mark.parametrize("version", ["4.19.90-2412.3.0.0308", "4.19.19-8.0.42"])
def test_case_s15_a_spec_without_its_suffix_is_not_vanilla(tmp_path: Path, version: str) -> None:
    """openEuler 20.03 and XCP-ng: what kernel.org's 4.19 has not, their builds may have."""
    found = by_changelog(tmp_path / "changelog", entry("Mon Dec 16 2024", version, "x"))
    here = [item for item in found.verdicts if item.rule is not Rule.OTHER_ARCHITECTURE]
    assert not [item.defect.slug for item in here if item.defect.pitfall is not None and item.state is not UNKNOWN]


PHOTON = "Name: linux\nVersion: 6.1.83\nRelease: 9\nPatch200: {}\n\n%changelog\n" + entry(
    "Thu Jan 30 2025", "6.1.83-9", "{}"
)


@pytest.mark.parametrize(
    ("patch", "item", "named"),
    [
        ("0001-bpf-Prevent-tailcall-infinite-loop-caused-by-freplac.patch", "x", "0001-bpf-Prevent"),
        ("0001-x.patch", "Fix CVE-2024-47794", "CVE-2024-47794"),
    ],
)
def test_case_s16_a_patch_or_a_cve_that_names_the_fix_forbids_affected(
    tmp_path: Path, patch: str, item: str, named: str
) -> None:
    found = by_changelog(tmp_path / "linux.spec", PHOTON.format(patch, item))
    (verdict,) = [verdict for verdict in found.verdicts if verdict.defect.slug == LOOP]
    assert verdict.state is UNKNOWN
    assert named in verdict.reason
