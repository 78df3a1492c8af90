"""Images of disks, made by mke2fs, mkfs.xfs, mkfs.btrfs, mksquashfs, xorriso and qemu-img where they are there; LVM; and
what is hostile.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.kernelfiles.roots import disk, lvm
from tailcall_audit.analyzer.kernelfiles.roots.disk import Unread, roots_of_disk
from tailcall_audit.analyzer.kernelfiles.roots.root import RootError
from tailcall_audit.analyzer.model import AuditError, Report
from tailcall_audit.analyzer.subjects.subject import Fleet
from tests.fleet.test_rootfs import debian
from tests.fleet.volumes import in_partitions, metadata, physical_volume
from tests.strategies.images import kernel

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


RELEASES = ["6.1.0-47-amd64", "6.6.10"]


def test_ext4_whole_and_in_a_partition(ext4: Path, tmp_path: Path) -> None:
    assert [target.identity["release"] for target in report_of(ext4).targets] == RELEASES
    disk = tmp_path / "disk.img"
    disk.write_bytes(in_partitions(ext4.read_bytes()))
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
    sealed = b"LUKS\xba\xbe\0\2" + bytes(4096)
    for name, data, reason in (
        ("empty", b"", "neither a table of partitions nor a file system"),
        ("zeros", bytes(1 << 20), "neither a table of partitions nor a file system"),
        ("cut", whole[:0x600], "broken disk|no kernel"),
        ("iso", iso, "broken disk"),
        ("luks", sealed, "it is encrypted"),
        ("luks in a partition", in_partitions(sealed), "partition 1.*it is encrypted"),
        ("a member of a RAID", bytes(4096) + b"\xfc\x4e\x2b\xa9" + bytes(4096), "a RAID"),
        ("lvm without metadata", (bytes(512) + b"LABELONE").ljust(8192, b"\0"), "broken disk|neither a table"),
        ("qcow2", b"QFI\xfb" + bytes(600), "broken disk"),
        ("vmdk", b"KDMV" + b"\xff" * 600, "broken disk"),
        ("descriptor", b"# Disk DescriptorFile\n", "in other files"),
        ("lies", whole[:0x400] + b"\xff" * 0x38 + b"\x53\xef" + b"\xff" * 900 + whole[0x800:], "broken disk|no kernel"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(AuditError, match=reason):
            report_of(tmp_path / name)


def test_links_stay_on_the_disk(ext4: Path) -> None:
    found = []
    for root in roots_of_disk(str(ext4)):
        assert not isinstance(root, Unread)
        status = root.read("../../var/lib/dpkg/status", 100_000)
        found.append((root.read("boot/vmlinuz-up", 100_000), root.names("lib/modules"), status is None))
    assert found == [(None, ["6.6.10"], False)]


def up(folder: Path) -> Path:
    """A root with a kernel of dpkg, one of which only modules are there, and links that are absolute and that climb."""
    top = debian(folder)
    (top / "usr/lib/modules/6.6.10").mkdir(parents=True)
    (top / "lib").symlink_to("/usr/lib")
    (top / "boot/vmlinuz-up").symlink_to("../../../../../../etc/passwd")
    return top


def made(*command: str) -> None:
    subprocess.run([tool(command[0]), *command[1:]], check=True, capture_output=True)


def test_btrfs(tmp_path: Path) -> None:
    image = tmp_path / "btrfs.img"
    with image.open("wb") as file:
        file.truncate(128 << 20)
    made("mkfs.btrfs", "-q", "--rootdir", str(up(tmp_path / "top")), str(image))
    assert [target.identity["release"] for target in report_of(image).targets] == RELEASES


def prototype(top: Path) -> str:
    """The files of a folder as mkfs.xfs's -p reads them (mkfs.xfs(8))."""
    lines = ["/", "0 0", "d--755 0 0"]

    def add(folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            if path.is_symlink():
                lines.append(f"{path.name} l--777 0 0 {path.readlink()}")
            elif path.is_dir():
                lines.append(f"{path.name} d--755 0 0")
                add(path)
            else:
                lines.append(f"{path.name} ---644 0 0 {path}")
        lines.append("$")

    add(top)
    return "\n".join([*lines, "$"]) + "\n"


def test_xfs(tmp_path: Path) -> None:
    files, image = tmp_path / "proto", tmp_path / "xfs.img"
    files.write_text(prototype(up(tmp_path / "top")))
    made("mkfs.xfs", "-q", "-p", str(files), "-d", f"name={image},file,size=300m")
    assert [target.identity["release"] for target in report_of(image).targets] == RELEASES


def squashed(folder: Path) -> bytes:
    image = folder / "root.squashfs"
    made("mksquashfs", str(up(folder / "live")), str(image), "-quiet", "-comp", "xz")
    return image.read_bytes()


@pytest.mark.parametrize("names", ["-R", "-J", "-iso-level"])
def test_iso_by_each_kind_of_names(tmp_path: Path, names: str) -> None:
    top = tmp_path / "disc"
    (top / "live").mkdir(parents=True)
    (top / "live/vmlinuz").write_bytes(kernel())
    image = tmp_path / "live.iso"
    words = ["-iso-level", "1"] if names == "-iso-level" else [names]
    made("xorriso", "-as", "mkisofs", "-quiet", *words, "-o", str(image), str(top))
    (target,) = report_of(image).targets
    assert target.name == f"{image}: live/vmlinuz"
    assert target.identity["release"] == "6.1.170"


def test_a_live_system_on_an_iso(tmp_path: Path) -> None:
    top = up(tmp_path / "disc")
    (top / "casper").mkdir()
    (top / "casper/filesystem.squashfs").write_bytes(squashed(tmp_path))
    (top / "casper/broken.squashfs").write_bytes(b"hsqs" + bytes(5000))
    image = tmp_path / "live.iso"
    made("xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", str(image), str(top))
    report = report_of(image)
    assert [target.identity["release"] for target in report.targets] == RELEASES * 2
    assert report.targets[2].name == f"{image} (casper/filesystem.squashfs): linux-image-6.1.0-47-amd64 6.1.170-3"
    assert [item.label for item in report.skipped] == [f"{image} (casper/broken.squashfs)"]


def test_volumes_of_lvm(ext4: Path, tmp_path: Path) -> None:
    content = physical_volume({"swap": bytes(5000), "root": ext4.read_bytes(), "home": b"x"})
    (tmp_path / "whole").write_bytes(content)
    (tmp_path / "parted").write_bytes(in_partitions(bytes(4096), content))
    for name in ("whole", "parted"):
        report = report_of(tmp_path / name)
        assert [target.identity["release"] for target in report.targets] == RELEASES
        assert report.targets[0].name.startswith(f"{tmp_path / name} (volume vgsys/root): linux-image")
        assert report.skipped == ()


def test_pvck_reads_the_volumes_that_are_made_here(tmp_path: Path) -> None:
    image = tmp_path / "pv"
    image.write_bytes(physical_volume({"root": b"x"}))
    done = subprocess.run([tool("pvck"), "--dump", "metadata", str(image)], capture_output=True, text=True, check=False)
    if "root" not in done.stdout and "denied" in done.stderr.lower():
        pytest.skip("pvck takes files from root only")
    assert "metadata text at 4608 crc" in done.stdout
    assert "# vgname vgsys seqno 3" in done.stdout
    assert "logical_volumes" in done.stdout


def test_a_volume_that_is_not_read_costs_no_other(ext4: Path, tmp_path: Path) -> None:
    """Two groups on one disk: one of a kind that is not read."""
    good = physical_volume({"root": ext4.read_bytes()})
    disk = tmp_path / "disk"
    raid = metadata({"root": 4}, "raid1", "a1b2c3" + "Ab12" * 5 + "z9y8x7", "vgraid")
    fields = "".join(
        f"{name} = 1\n"
        for name in (
            "device_count",
            "region_size",
            "stripe_size",
            "writebehind",
            "min_recovery_rate",
            "max_recovery_rate",
        )
    )
    raid = raid.replace("stripe_count = 1\n", f"stripe_count = 1\n{fields}")
    striped = metadata({"root": 4}, "striped", "a1b2c3" + "Ab12" * 5 + "z9y8x7", "vgstripe").replace(
        "stripe_count = 1", "stripe_count = 2"
    )
    for text, why in ((raid, "it is a raid1"), (striped, "striped over several disks")):
        disk.write_bytes(in_partitions(good, physical_volume({}, text=text)))
        report = report_of(disk)
        assert [target.identity["release"] for target in report.targets] == RELEASES
        (skipped,) = report.skipped
        assert why in skipped.reason
    disk.write_bytes(in_partitions(good[:4096] + bytes(len(good) - 4096), ext4.read_bytes()))
    report = report_of(disk)
    assert [target.identity["release"] for target in report.targets] == RELEASES


def test_a_group_of_volumes_that_is_broken_costs_no_other_partition(ext4: Path, tmp_path: Path) -> None:
    broken = physical_volume({}, text="vgsys { id = ")
    disk = tmp_path / "disk"
    disk.write_bytes(in_partitions(broken, ext4.read_bytes()))
    report = report_of(disk)
    assert [target.identity["release"] for target in report.targets] == RELEASES
    assert [item.label for item in report.skipped] == [str(disk)]


def test_a_file_that_is_cut_off_is_not_a_short_one(ext4: Path, tmp_path: Path) -> None:
    whole, image = ext4.read_bytes(), tmp_path / "image"
    image.write_bytes(whole[: whole.index(b"Package: base-files") + 40])
    for root in roots_of_disk(str(image)):
        assert not isinstance(root, Unread)
        with pytest.raises(RootError, match="cut off: 40 of"):
            root.read("var/lib/dpkg/status", 100_000)


def test_an_iso_that_is_cut_off_is_not_read(tmp_path: Path) -> None:
    image = tmp_path / "image"
    made("xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", str(image), str(up(tmp_path / "top")))
    image.write_bytes(image.read_bytes()[:-2048])
    with pytest.raises(AuditError, match="cut off"):
        report_of(image)


def test_the_parts_beyond_the_most_that_are_read_are_named(
    ext4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parted, volumes = tmp_path / "parted", tmp_path / "volumes"
    parted.write_bytes(in_partitions(ext4.read_bytes(), b"x"))
    volumes.write_bytes(physical_volume({"root": ext4.read_bytes(), "home": b"x"}))
    monkeypatch.setattr(disk, "_MOST_PARTITIONS", 1)
    monkeypatch.setattr(lvm, "_MOST_VOLUMES", 1)
    for image, words in ((parted, "more than 1 partitions"), (volumes, "more than 1 volumes in vgsys")):
        report = report_of(image)
        assert [target.identity["release"] for target in report.targets] == RELEASES
        (skipped,) = report.skipped
        assert words in skipped.reason
