"""The file that QEMU boots for a kernel image (the file as it was shipped, or the kernel inside), and its architecture."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.containers import ImageError, Kernel, unpack
from tailcall_audit.analyzer.model import Bootable
from tailcall_audit.probes.guest.machines import MACHINES

__all__ = ["BootFile", "in_memory", "read_boot_file"]

_LOAD_FLAGS = 0x236
_64_BIT = 1
"""XLF_KERNEL_64 (Linux Documentation/arch/x86/boot.rst: xloadflags)."""
_FLAGS = 24


class BootFile(NamedTuple):
    """An image: the file, the kernel inside of it (None: not unpacked here), and its architecture (None: not known)."""

    file: bytes
    kernel: bytes | None
    architecture: str | None


def read_boot_file(bootable: Bootable) -> BootFile:
    """Reads an image; raises AuditError if it cannot be read, or its byte order is not that of the programs in guests of
    its architecture. An image that cannot be unpacked is left to QEMU.
    """
    data = read_bootable(bootable)
    if data[0x202:0x206] == b"HdrS" and len(data) > _LOAD_FLAGS + 2:
        # QEMU boots it as it is; unpacking it only to look would cost more.
        (flags,) = struct.unpack_from("<H", data, _LOAD_FLAGS)
        return BootFile(data, None, "x86_64" if flags & _64_BIT else "i386")
    try:
        kernel = unpack(data, bootable.member or bootable.path)
    except ImageError:
        return BootFile(data, None, None)
    order = _byte_order(kernel)
    machine = next((item for item in MACHINES if item.architecture == kernel.architecture), None)
    if machine is not None and order not in (None, machine.elf[1]):
        raise ImageError(
            f"{bootable.member or bootable.path}: a {order}-endian kernel of {kernel.architecture}: guests of"
            f" {kernel.architecture} get {machine.elf[1]}-endian programs, so it cannot be booted"
        )
    return BootFile(data, kernel.data, kernel.architecture)


def _byte_order(kernel: Kernel) -> str | None:
    """Returns "big" or "little"; None if the image does not say. An ELF file says so in its sixth byte, an Image in the
    lowest of its flags (Linux Documentation/arch/arm64/booting.rst, the same on riscv64).
    """
    if kernel.is_elf:
        return {1: "little", 2: "big"}.get(kernel.data[5])
    if kernel.architecture not in ("arm64", "riscv64") or len(kernel.data) < _FLAGS + 8:
        return None
    return "big" if kernel.data[_FLAGS] & 1 else "little"


@contextmanager
def in_memory(data: bytes, name: str) -> Iterator[Path]:
    """Yields the path of a file in memory, which disappears when this process ends, however it ends."""
    descriptor = os.memfd_create(name[:200])
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{descriptor}")
