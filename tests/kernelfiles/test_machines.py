"""The architecture that an image names, those that are not audited among them, and Images that are not whole."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.architecture import ARCHITECTURES
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import ImageError, unpack
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tests.kernels import package_file

BANNER = b"Linux version 6.12.107 (bench@builder) (gcc 14.2.0) #1 SMP Mon Aug 17 10:00:00 UTC 2026\0"


def elf(machine: int, wide: bool, order: str = "<") -> bytes:
    """The header of an ELF file without sections, and a banner."""
    head = bytearray(64)
    head[:7] = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1])
    struct.pack_into(f"{order}HHI", head, 16, 2, machine, 1)
    struct.pack_into(f"{order}HHHHHH", head, 52 if wide else 40, 64 if wide else 52, 0, 0, 64 if wide else 40, 0, 0)
    return bytes(head) + BANNER


@pytest.mark.parametrize(
    ("machine", "wide", "order", "expected"),
    [
        (62, True, "<", "x86_64"),
        (3, False, "<", "i386"),
        (183, True, "<", "arm64"),
        (183, True, ">", "arm64"),
        (40, False, "<", "arm"),
        (243, True, "<", "riscv64"),
        (22, True, ">", "s390x"),
        (21, True, "<", "powerpc64"),
        (21, True, ">", "powerpc64"),
        (20, False, ">", "powerpc32"),
        (258, True, "<", "loongarch64"),
        (8, True, ">", "mips64"),
        (8, False, "<", "mips"),
        (43, True, ">", "sparc64"),
        # 32-bit kernels of these have no name here, and are none of the 64-bit ones.
        (243, False, "<", None),
        (258, False, "<", None),
        (62, False, "<", None),
        (12345, True, "<", None),
    ],
)
def test_the_machine_and_the_width_of_an_elf_file_name_the_architecture(
    machine: int, wide: bool, order: str, expected: str | None
) -> None:
    found = unpack(elf(machine, wide, order), "vmlinux").architecture
    assert found == expected
    assert found is None or found in ARCHITECTURES


def test_a_kernel_of_sparc_has_the_code_of_no_other_architecture(tmp_path: Path) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(elf(43, True, ">"))
    target = audit(images=[str(image)], emulate=False).targets[0]
    assert target.identity["architecture"] == "sparc64"
    states = target.states
    assert states["riscv-kcfi-tailcall-stack"] is State.NOT_AFFECTED
    assert states["x86-hierarchy"] is State.NOT_AFFECTED
    assert states["interp-empty-slot-count"] is State.AFFECTED


def debians(package: str, version: str, architecture: str) -> bytes:
    path = package_file(package, version, architecture)
    bootable = read_package(str(path)).bootable
    assert bootable is not None
    return read_bootable(bootable)


@pytest.mark.parametrize(
    ("package", "version", "architecture", "what"),
    [
        ("linux-image-6.1.0-56-cloud-arm64", "6.1.192-2", "arm64", "arm64 Image"),
        ("linux-image-6.12.117+deb13-riscv64", "6.12.117-1", "riscv64", "riscv64 Image"),
    ],
)
def test_an_image_without_its_end_is_refused(package: str, version: str, architecture: str, what: str) -> None:
    data = debians(package, version, architecture)
    assert unpack(data, "vmlinuz").architecture == architecture
    assert unpack(data + bytes(512), "vmlinuz").architecture == architecture  # a signature behind it
    for end in (len(data) - (64 << 10), len(data) // 2, 4096):
        with pytest.raises(ImageError, match=f"vmlinuz: {what} that is cut off"):
            unpack(data[:end], "vmlinuz")


def test_an_image_of_loongarch_without_its_end_is_refused() -> None:
    """Behind its sections the file has a megabyte of zeros, which may be missing."""
    data = unpack(debians("linux-binary-7.2.13+deb14-loong64", "7.2.13-1", "loong64"), "vmlinuz").data
    assert unpack(data, "vmlinux.efi").architecture == "loongarch64"
    with pytest.raises(ImageError, match=r"vmlinux.efi: loongarch64 Image that is cut off"):
        unpack(data[: len(data) // 2], "vmlinux.efi")


def test_an_image_of_32_bit_riscv_is_refused_by_name() -> None:
    data = bytearray(debians("linux-image-6.12.117+deb13-riscv64", "6.12.117-1", "riscv64")[:4096])
    struct.pack_into("<Q", data, 8, 4 << 20)
    with pytest.raises(ImageError, match="an Image of 32-bit RISC-V"):
        unpack(bytes(data), "Image")
