"""Packages that only depend on a kernel: which are followed, to which file, and which are not."""

from __future__ import annotations

import lzma
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.kernelfiles.deb import installed_image, kernel_dependency
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.model import AuditError
from tests.debs import CONTROL, deb, tar
from tests.kernels import package_file

F = State.FIXED


def test_a_metapackage_and_headers_are_refused_with_the_reason(tmp_path: Path) -> None:
    alone = tmp_path / "metapackage.deb"
    shutil.copy(package_file("linux-image-cloud-amd64"), alone)
    with pytest.raises(AuditError, match=r"metapackage: audit linux-image-\S+ \(\S+\), which it depends on"):
        read_package(str(alone))
    with pytest.raises(AuditError, match="holds no kernel"):
        read_package(str(package_file("linux-libc-dev")))


def test_debian_metapackage_6_1_192_is_followed_to_the_file_beside_it(tmp_path: Path) -> None:
    kernel = package_file("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2")
    metapackage = package_file("linux-image-cloud-amd64", "6.1.192-2")
    for file in (kernel, metapackage):
        (tmp_path / file.name).symlink_to(file)
    report = audit(packages=[str(tmp_path / metapackage.name)]).targets[0]
    assert report.name == "linux-image-6.1.0-56-cloud-amd64 6.1.192-2"
    assert {item.defect.slug: item.state for item in report.verdicts}["freplace-loop"] is F
    assert (
        f"linux-image-cloud-amd64 is a metapackage: this is the kernel that it depends on, {tmp_path}/{kernel.name}"
        in (report.notes)
    )


METAPACKAGE = b"Package: linux-image-amd64\nVersion: 6.1.170-3\nArchitecture: amd64\nMaintainer: A <a@b.c>\nDescription: x\nDepends: "


def beside(tmp_path: Path, version: bytes, depends: bytes) -> str:
    """A metapackage with these dependencies, next to a kernel of this version."""
    kernel = Path(deb(tmp_path, lzma.compress(tar({"./boot/vmlinuz-x": b"x"})), CONTROL.replace(b"6.1.170-3", version)))
    kernel.rename(tmp_path / f"linux-image-6.1.0-47-amd64_{version.decode()}_amd64.deb")
    return deb(tmp_path, lzma.compress(tar({})), METAPACKAGE + depends + b"\n")


def test_a_metapackage_is_not_followed_to_another_version(tmp_path: Path) -> None:
    path = beside(tmp_path, b"6.1.172-1", b"linux-image-6.1.0-47-amd64 (= 6.1.170-3)")
    with pytest.raises(AuditError, match="neither beside it nor installed"):
        read_package(path)


def test_a_metapackage_without_a_version_is_followed_unless_two_files_would_do(tmp_path: Path) -> None:
    depends = b"initramfs-tools | dracut, linux-image-6.1.0-47-amd64"
    found = read_package(beside(tmp_path, b"6.1.170-3", depends))
    assert (found.name, found.version, found.via) == ("linux-image-6.1.0-47-amd64", "6.1.170-3", "linux-image-amd64")
    with pytest.raises(AuditError, match="does not say which version it needs"):
        read_package(beside(tmp_path, b"6.1.172-1", depends))


def made(tmp_path: Path, name: str, version: str, depends: str = "", image: bool = False) -> str:
    """A package of this name; apt's own file name."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: A <a@b.c>\nDescription: x\n"
    control += f"Depends: {depends}\n" if depends else ""
    files = {"./boot/vmlinuz-x": b"x"} if image else {}
    path = Path(deb(tmp_path, lzma.compress(tar(files)), control.encode()))
    return str(path.rename(tmp_path / f"{name}_{version}_amd64.deb"))


CHAINS = (
    (
        ("pve-kernel-5.15", "7.4-15", "pve-kernel-5.15.158-2-pve, pve-firmware"),
        ("pve-kernel-5.15.158-2-pve", "5.15.158-2", ""),
    ),
    (
        ("proxmox-default-kernel", "1.1.0", "proxmox-kernel-6.8"),
        ("proxmox-kernel-6.8", "6.8.12-15", "proxmox-kernel-6.8.12-15-pve-signed | proxmox-kernel-6.8.12-15-pve"),
        ("proxmox-kernel-6.8.12-15-pve-signed", "6.8.12-15", ""),
    ),
    (
        ("linux-image-generic-hwe-22.04", "6.8.0-90.91~22.04.1", "linux-image-6.8.0-90-generic, linux-firmware"),
        ("linux-image-6.8.0-90-generic", "6.8.0-90.91~22.04.1", ""),
    ),
    (
        ("linux-image-6.12-amd64", "6.12.94-1", "linux-image-6.12.94+deb13-amd64 (= 6.12.94-1)"),
        ("linux-image-6.12.94+deb13-amd64", "6.12.94-1", ""),
    ),
)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_metapackage_with_a_number_in_its_name_is_followed(
    tmp_path: Path, chain: tuple[tuple[str, str, str], ...]
) -> None:
    """pve-kernel-5.15 7.4-15 holds no kernel, and 7.4 is none."""
    paths = [made(tmp_path, *package, image=package is chain[-1]) for package in chain]
    found = read_package(paths[0])
    assert (found.name, found.version, found.via) == (chain[-1][0], chain[-1][1], chain[0][0])
    Path(paths[-1]).unlink()
    with pytest.raises(AuditError, match="is a metapackage: audit "):
        read_package(paths[0])


def test_metapackages_that_lead_to_each_other_are_refused(tmp_path: Path) -> None:
    first = made(tmp_path, "pve-kernel-5.15", "7.4-15", "pve-kernel-5.13")
    made(tmp_path, "pve-kernel-5.13", "7.4-15", "pve-kernel-5.15")
    with pytest.raises(AuditError, match="is a metapackage"):
        read_package(first)


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("proxmox-kernel-6.8.12-15-pve-signed", "6.8.12-15-pve"),
        ("pve-kernel-5.15.158-2-pve", "5.15.158-2-pve"),
        ("linux-image-6.1.0-47-amd64-unsigned", "6.1.0-47-amd64"),
        ("pve-kernel-5.15", None),
        ("proxmox-kernel-6.8", None),
        ("linux-image-6.12-amd64", None),
    ],
)
def test_an_image_s_package_names_the_release_that_it_boots(name: str, release: str | None) -> None:
    assert installed_image(name) == release


@pytest.mark.parametrize(
    "depends", ["", "linux-image-6/../../x", "linux-image-6*", "(((", "linux-image-6.1 (=", "\n\n,,"]
)
def test_hostile_dependencies_lead_nowhere(depends: str) -> None:
    assert kernel_dependency(depends) is None


def test_a_dependency_with_terminal_escapes_is_not_printed_raw(tmp_path: Path) -> None:
    path = deb(tmp_path, lzma.compress(tar({})), METAPACKAGE + b"linux-image-6/\x1b[31mred, (((\n")
    # In a process of its own: under pytest a log handler is always there, and python-debian would stay silent anyway.
    command = [sys.executable, "-m", "tailcall_audit", "--package", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "cannot parse" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
