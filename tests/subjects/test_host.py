"""The running host, from a made-up root; the real one is only read."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tailcall_audit import AuditError, Catalog, State, audit
from tailcall_audit.analyzer.subjects.host import read_host
from tests.mutants import debian_image

PROC_VERSION = (
    "Linux version 6.1.0-47-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) "
    "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)"
)
BANNER = "6.1.0-47-amd64 (debian-kernel@lists.debian.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08)"
CONFIG = "# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.170 Kernel Configuration\nCONFIG_64BIT=y\nCONFIG_X86_64=y\n# CONFIG_BPF_SYSCALL is not set\n"


def image(banner: str) -> bytes:
    """The start of an x86 bzImage with a version string in its header."""
    data = bytearray(0x4000)
    data[0x202:0x206] = b"HdrS"
    data[0x20E:0x210] = (0x3000 - 0x200).to_bytes(2, "little")
    data[0x3000 : 0x3000 + len(banner) + 1] = banner.encode() + b"\0"
    return bytes(data)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("proc", "boot", "sys/kernel"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/version").write_text(PROC_VERSION + "\n")
    return tmp_path


def test_a_debian_host_names_its_package(root: Path) -> None:
    host = read_host(root)
    assert (str(host.release.version), host.release.package, host.config) == ("6.1.170", "6.1.170-3", None)


def test_an_ubuntu_host_reads_the_signature(root: Path) -> None:
    (root / "proc/version").write_text(
        "Linux version 5.15.0-79-generic (buildd@bos03-amd64-057) (gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0) #86-Ubuntu SMP Mon Jul 10 16:07:21 UTC 2023\n"
    )
    (root / "proc/version_signature").write_text("Ubuntu 5.15.0-79.86-generic 5.15.111\n")
    host = read_host(root)
    assert (str(host.release.version), host.release.distro) == ("5.15.111", "ubuntu")


def test_the_running_config_applies(root: Path) -> None:
    (root / "proc/config.gz").write_bytes(gzip.compress(CONFIG.encode()))
    assert read_host(root).config_applies


def test_a_config_in_boot_counts_only_beside_the_running_image(root: Path) -> None:
    (root / "boot/config-6.1.0-47-amd64").write_text(CONFIG)
    host = read_host(root)
    assert host.config is not None
    assert not host.config_applies
    assert any("excludes nothing" in note for note in host.notes)
    (root / "boot/vmlinuz-6.1.0-47-amd64").write_bytes(
        image(BANNER.replace("6.1.170-3 (2026-05-08)", "6.1.176-1 (2026-07-01)"))
    )
    assert not read_host(root).config_applies
    (root / "boot/vmlinuz-6.1.0-47-amd64").write_bytes(image(BANNER))
    assert read_host(root).config_applies


def test_the_banner_of_a_real_image_is_read(root: Path) -> None:
    (root / "boot/config-6.1.0-47-cloud-amd64").write_text(CONFIG)
    (root / "boot/vmlinuz-6.1.0-47-cloud-amd64").symlink_to(debian_image("vmlinuz-6.1.0-47-cloud-amd64"))
    (root / "proc/version").write_text(PROC_VERSION.replace("6.1.0-47-amd64", "6.1.0-47-cloud-amd64"))
    assert read_host(root).config_applies


def test_live_patches_are_named(root: Path) -> None:
    (root / "sys/kernel/livepatch/klp_fix").mkdir(parents=True)
    host = read_host(root)
    assert host.live_patches == ("klp_fix",)
    assert any("klp_fix" in note for note in host.notes)


def test_a_broken_config_is_noted(root: Path) -> None:
    (root / "proc/config.gz").write_bytes(b"\x1f\x8bbroken")
    host = read_host(root)
    assert host.config is None
    assert any("broken gzip" in note for note in host.notes)


def test_where_there_is_no_linux_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="by its release string"):
        read_host(tmp_path)


def test_this_host_is_audited() -> None:
    report = audit().targets[0]
    assert report.identity["architecture"] is not None
    assert {item.state for item in report.verdicts} <= set(State)


def test_the_salt_of_an_older_configuration_does_not_part_the_running_kernel_from_its_own(
    tmp_path: Path, catalog: Catalog
) -> None:
    """``make olddefconfig`` keeps the salt of the configuration that it starts from; /proc/config.gz is the running
    kernel's.
    """
    from tailcall_audit.analyzer.pipeline import audit_sources
    from tailcall_audit.analyzer.subjects.subject import Request
    from tests.subjects.test_config import USUAL, write

    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/version").write_text("Linux version 6.1.170-lab (a@b) (gcc) #1 SMP PREEMPT_DYNAMIC x\n")
    config = write(
        tmp_path / "config",
        USUAL.replace("CONFIG_BPF_JIT=y", "# CONFIG_BPF_JIT is not set") + 'CONFIG_BUILD_SALT="5.10.0-30-amd64"\n',
    )
    (tmp_path / "proc/config.gz").write_bytes(gzip.compress(config.read_bytes()))
    request = Request(catalog, catalog.find("x86-hierarchy"), arch="x86_64", root=str(tmp_path))
    (report,) = audit_sources(request, [("host", "")]).targets
    assert report.verdicts[0].rule.value == "config-excludes"


def test_the_functions_of_the_running_kernels_own_image_are_run(root: Path, catalog: Catalog) -> None:
    """The image in /boot is the one that runs: same release, same build."""
    from tailcall_audit.analyzer.model import EvidenceKind, Presence
    from tailcall_audit.analyzer.pipeline import audit_sources
    from tailcall_audit.analyzer.subjects.subject import Request

    (root / "boot/vmlinuz-6.1.0-47-cloud-amd64").symlink_to(debian_image("vmlinuz-6.1.0-47-cloud-amd64"))
    (root / "proc/version").write_text(PROC_VERSION.replace("6.1.0-47-amd64", "6.1.0-47-cloud-amd64"))
    defects = (*catalog.find("x86-hierarchy"), *catalog.find("freplace-tailcallee"))
    for emulate, expected in ((True, {"116e04ba1459": Presence.ABSENT, "1c123c567fb1": Presence.PRESENT}), (False, {})):
        request = Request(catalog, defects, arch="x86_64", root=str(root), emulate=emulate)
        (report,) = audit_sources(request, [("host", "")]).targets
        seen = {
            item.commit: item.presence
            for verdict in report.verdicts
            for item in verdict.evidence
            if item.kind is EvidenceKind.EMULATION and item.presence is not Presence.UNKNOWN
        }
        assert expected.items() <= seen.items()
        assert bool(seen) is emulate
        assert report.states == {"x86-hierarchy": State.AFFECTED, "freplace-tailcallee": State.FIXED}
