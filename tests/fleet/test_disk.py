"""Images of disks, made by mke2fs, qemu-img and mksquashfs where they are there; and what is hostile."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.kernelfiles.roots.disk import roots_of_disk
from tailcall_audit.analyzer.model import AuditError, Report
from tailcall_audit.analyzer.subjects.subject import Fleet
from tests.fleet.test_rootfs import debian

pytest.importorskip("dissect.extfs", reason="no dissect: pip install 'tailcall-audit[disk]'")


def tool(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


def report_of(path: Path) -> Report:
    return audit(fleet=Fleet(disks=(str(path),)), only=["freplace-loop"], emulate=False)


@pytest.fixture(scope="module")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    top = debian(folder / "top")
    (top / "usr/lib/modules/6.6.10").mkdir(parents=True)
    (top / "lib").symlink_to("/usr/lib")
    (top / "boot/vmlinuz-up").symlink_to("../../../../../../etc/passwd")
    image = folder / "ext4.img"
    subprocess.run(
        [tool("mke2fs"), "-q", "-t", "ext4", "-d", str(top), str(image), "16M"], check=True, capture_output=True
    )
    return image


def in_partition(content: bytes) -> bytes:
    """A disk with one partition of MBR, 1 MiB behind its start."""
    entry = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x83, b"\0\0\0", 2048, len(content) // 512)
    return (bytes(446) + entry).ljust(510, b"\0") + b"\x55\xaa" + bytes(2047 * 512) + content


RELEASES = ["6.1.0-47-amd64", "6.6.10"]


def test_ext4_whole_and_in_a_partition(ext4: Path, tmp_path: Path) -> None:
    assert [target.identity["release"] for target in report_of(ext4).targets] == RELEASES
    disk = tmp_path / "disk.img"
    disk.write_bytes(in_partition(ext4.read_bytes()))
    report = report_of(disk)
    assert [target.identity["release"] for target in report.targets] == RELEASES
    assert report.targets[0].name == f"{disk} (partition 1): linux-image-6.1.0-47-amd64 6.1.170-3"


@pytest.mark.parametrize("form", ["qcow2", "vmdk"])
def test_images_of_machines(ext4: Path, tmp_path: Path, form: str) -> None:
    image = tmp_path / f"disk.{form}"
    subprocess.run([tool("qemu-img"), "convert", "-f", "raw", "-O", form, str(ext4), str(image)], check=True)
    assert [target.identity["release"] for target in report_of(image).targets] == RELEASES


def test_squashfs(tmp_path: Path) -> None:
    image = tmp_path / "root.squashfs"
    command = [tool("mksquashfs"), str(debian(tmp_path / "top")), str(image), "-quiet", "-comp", "gzip"]
    subprocess.run(command, check=True, capture_output=True)
    assert [target.identity["release"] for target in report_of(image).targets] == RELEASES[:1]


def test_a_backing_file_is_not_opened(ext4: Path, tmp_path: Path) -> None:
    image = tmp_path / "over.qcow2"
    command = [tool("qemu-img"), "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(ext4), str(image)]
    subprocess.run(command, check=True)
    with pytest.raises(AuditError, match="it needs its backing file"):
        report_of(image)


def test_what_is_no_disk_is_a_reason(ext4: Path, tmp_path: Path) -> None:
    whole = ext4.read_bytes()
    iso = bytes(0x8001) + b"CD001" + bytes(5000)
    for name, data, reason in (
        ("empty", b"", "broken disk|no file system"),
        ("zeros", bytes(1 << 20), "no file system|broken disk"),
        ("cut", whole[:0x600], "broken disk|no kernel"),
        ("iso", iso, "ISO 9660"),
        ("qcow2", b"QFI\xfb" + bytes(600), "broken disk"),
        ("vmdk", b"KDMV" + b"\xff" * 600, "broken disk"),
        ("descriptor", b"# Disk DescriptorFile\n", "in other files"),
        ("lies", whole[:0x400] + b"\xff" * 0x38 + b"\x53\xef" + b"\xff" * 900 + whole[0x800:], "broken disk|no kernel"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(AuditError, match=reason):
            report_of(tmp_path / name)


def test_links_stay_on_the_disk(ext4: Path) -> None:
    for root in roots_of_disk(str(ext4)):
        assert root.read("boot/vmlinuz-up", 100_000) is None
        assert root.names("lib/modules") == ["6.6.10"]
        assert root.read("../../var/lib/dpkg/status", 100_000) is not None
