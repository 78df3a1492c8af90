"""The file that a guest boots, and kernels whose byte order no program in a guest has."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tailcall_audit.analyzer.live.bootfile import read_boot_file
from tailcall_audit.analyzer.model import AuditError, Bootable


def elf(machine: int, order: str) -> bytes:
    head = bytearray(b"\x7fELF\2" + bytes([1 if order == "<" else 2, 1])).ljust(64, b"\0")
    struct.pack_into(f"{order}HHI", head, 16, 2, machine, 1)
    return bytes(head)


def arm64(flags: int) -> bytes:
    """The header of an Image (Linux Documentation/arch/arm64/booting.rst)."""
    head = bytearray(64)
    struct.pack_into("<Q", head, 24, flags)
    head[0x38:0x3C] = b"ARM\x64"
    return bytes(head)


@pytest.mark.parametrize(
    ("data", "architecture"),
    [
        (elf(21, "<"), "powerpc64"),
        (elf(22, ">"), "s390x"),
        (elf(62, "<"), "x86_64"),
        (elf(43, ">"), "sparc64"),
        (arm64(0b1010), "arm64"),
    ],
)
def test_a_kernel_with_the_byte_order_of_its_guests_is_booted(data: bytes, architecture: str, tmp_path: Path) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(data)
    assert read_boot_file(Bootable(str(image))).architecture == architecture


@pytest.mark.parametrize(("data", "architecture"), [(elf(21, ">"), "powerpc64"), (arm64(0b1011), "arm64")])
def test_a_kernel_of_the_other_byte_order_is_named(data: bytes, architecture: str, tmp_path: Path) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(data)
    with pytest.raises(AuditError, match=rf"vmlinux: a big-endian kernel of {architecture}: .* little-endian programs"):
        read_boot_file(Bootable(str(image)))
