"""Unwraps the image that a distribution ships down to the kernel: bzImage, EFI stub, unified kernel image, zboot,
compressed files, plain ELF. Nothing is executed. Every step is bounded, because an image may claim anything.
"""

from __future__ import annotations

import re
import struct
from itertools import islice
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.compression import BrokenDataError, compression_of, decompress_payload
from tailcall_audit.analyzer.model import AuditError

__all__ = ["HEADER_SIZE", "ImageError", "Kernel", "SeveralKernelsError", "has_kernel_header", "unpack"]

HEADER_SIZE = 0x1000E
"""The bytes that `has_kernel_header` looks at: the mark of s390x ends there, those of the others end before."""
_MAX_KERNEL = 512 << 20
"""The largest distribution kernel with debug data left in unpacks to some 400 MB."""
_MAX_LEVELS = 5
_MAX_SECTIONS = 96
"""The most sections of a PE file that Windows loads. A unified kernel image has a dozen."""
_MAX_DECLARED = 256
_SETUP = b"HdrS"
"""The mark of a bzImage, at 0x202 (Linux Documentation/arch/x86/boot.rst)."""
_ARM64_IMAGE = b"ARM\x64"
"""The mark of an Image, at 0x38 (Linux Documentation/arch/arm64/booting.rst)."""
_S390_MARK = b"S390EP"
"""The bytes after the entry of an s390x kernel, at 0x10008 (Linux arch/s390/boot/head.S)."""
_MAX_PAYLOADS = 16
"""Places of an s390x image that begin as compressed data does. Its header does not say where the payload is, and the
decompressor before it contains such bytes too.
"""
_LOONGARCH_MARK = b"\xcd\x23\x82\x81"
"""The mark of an Image of LoongArch (Linux arch/loongarch/kernel/head.S: LINUX_PE_MAGIC)."""
_RISCV_IMAGE = b"RISCV\0\0\0RSC\x05"
"""The marks of an Image (Linux Documentation/arch/riscv/boot-image-header.rst)."""
_RISCV_64 = (0x200000).to_bytes(8, "little")
"""The load offset of a 64-bit kernel; that of a 32-bit one is 4 MiB (Linux arch/riscv/kernel/head.S)."""
_ZIMAGE = (b"\x18\x28\x6f\x01", b"\x01\x6f\x28\x18")
"""The mark of a zImage in either byte order (Linux Documentation/arch/arm/booting.rst,
arch/arm/boot/compressed/head.S).
"""

_COMPRESSED = re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|\xfd7zXZ\0|BZh[1-9]1AY|\x5d\0\0|\x89LZO")
"""The first bytes of the compressions that the kernel's build knows (scripts/Makefile.lib). lz4 is left out: its legacy
frame has no end mark.
"""
_LEAST_KERNEL = 1 << 20

_WIDE = {
    62: "x86_64",
    183: "arm64",
    22: "s390x",
    21: "powerpc64",
    243: "riscv64",
    258: "loongarch64",
    8: "mips64",
    15: "parisc64",
    43: "sparc64",
    50: "ia64",
    0x9026: "alpha",
}
_NARROW = {
    3: "i386",
    40: "arm",
    20: "powerpc32",
    8: "mips",
    15: "parisc64",
    2: "sparc64",
    4: "m68k",
    42: "sh",
    195: "arc",
}
"""e_machine of the ELF headers of 64-bit and of 32-bit kernels (elf(5), include/uapi/linux/elf-em.h). If there are
kernels of both, a name may stand for both (`tailcall_audit.analyzer.architecture`).
"""


class ImageError(AuditError):
    """A file that is no kernel image, or a broken one."""


class SeveralKernelsError(ImageError):
    """An image that names two kernels, in its banners, or in its header and its payload, so that its version is
    unknown.
    """


class Kernel(NamedTuple):
    """The kernel of an image: `form` is what it was wrapped in, outermost first; `architecture` is None if it is not
    known; `declared` has the release that each wrapping names, and the build if the wrapping names it.
    """

    data: bytes
    form: tuple[str, ...]
    architecture: str | None
    is_elf: bool
    declared: tuple[str, ...] = ()


def has_kernel_header(data: bytes) -> bool:
    """Returns True for the beginning of a kernel image, by what only the kernel's boot headers have. A kernel in an ELF
    or PE file, or in a compressed one, does not begin with such a header.
    """
    return (
        data[0x202:0x206] == _SETUP
        or data[0x38:0x3C] in (_ARM64_IMAGE, _LOONGARCH_MARK)
        or data[0x30:0x3C] == _RISCV_IMAGE
        or data[0x10008:0x1000E] == _S390_MARK
        or data[0x24:0x28] in _ZIMAGE
    )


def unpack(data: bytes, name: str) -> Kernel:
    """Unwraps an image down to the kernel; raises ImageError."""
    form: list[str] = []
    declared: list[str] = []
    for _ in range(_MAX_LEVELS):
        if data[:4] == b"\x7fELF":
            if len(data) < 64:
                raise ImageError(f"{name}: an ELF header that is cut off")
            (machine,) = struct.unpack_from("<H" if data[5] == 1 else ">H", data, 18)
            machines = _WIDE if data[4] == 2 else _NARROW
            return Kernel(data, (*form, "ELF"), machines.get(machine), True, tuple(declared))
        if data[0x202:0x206] == _SETUP:
            declared += _declared(data)
            kind, data = "bzImage", _bzimage(data, name)
        elif data[:2] == b"MZ" and data[4:8] == b"zimg":
            kind, data = "EFI zboot image", _zboot(data, name)
        elif (flat := _flat(data, name)) is not None:
            return Kernel(data, (*form, flat[0]), flat[1], False, tuple(declared))
        elif data[0x10008:0x1000E] == _S390_MARK:
            kind, data = _s390_payload(data, name)
            return Kernel(data, (*form, "s390x bzImage", *filter(None, [kind])), "s390x", False, tuple(declared))
        elif data[0x24:0x28] in _ZIMAGE:
            raise ImageError(
                f"{name}: a zImage of 32-bit ARM, which this tool does not unpack: audit its release"
                " string, its configuration, or the package that it came in"
            )
        elif data[:2] == b"MZ":
            sections = _pe_sections(data, name)
            uname = sections.get(".uname", b"").rstrip(b"\0\n").decode("ascii", "replace")
            declared += [uname[:_MAX_DECLARED]] if uname else []
            kind, data = "unified kernel image", _linux_of(sections, name)
        else:
            kind, data = _decompress(data, name)
        form.append(kind)
    raise ImageError(f"{name}: wrapped more than {_MAX_LEVELS} times")


def _flat(data: bytes, name: str) -> tuple[str, str] | None:
    """Returns the form and the architecture of an Image that is not compressed; None if it is none. Raises ImageError if
    it is of 32 bits, or cut off.
    """
    if data[0x38:0x3C] == _ARM64_IMAGE:
        found = ("arm64 Image", "arm64")
    elif data[0x30:0x3C] == _RISCV_IMAGE:
        if data[8:16] != _RISCV_64:
            raise ImageError(f"{name}: an Image of 32-bit RISC-V, whose JIT is none of those that are audited")
        found = ("riscv64 Image", "riscv64")
    elif data[:2] == b"MZ" and data[0x38:0x3C] == _LOONGARCH_MARK and data[0x40:0x44] == b"PE\0\0":
        found = ("loongarch64 Image", "loongarch64")
    else:
        return None
    if (end := _end_of_sections(data)) > len(data):
        raise ImageError(
            f"{name}: {found[0]} that is cut off: its last section ends at byte {end:,}, the file at {len(data):,}"
        )
    return found


def _end_of_sections(data: bytes) -> int:
    """Returns where the last section of a PE file ends (Microsoft's PE format, "Section Table"). Returns 0 if it has no
    PE header, as an Image without EFI stub.
    """
    try:
        (start,) = struct.unpack_from("<I", data, 0x3C)
        mark, count, optional = struct.unpack_from("<4s2xH12xH", data, start)
        if data[:2] != b"MZ" or mark != b"PE\0\0" or count > _MAX_SECTIONS:
            return 0
        places = range(start + 24 + optional, start + 24 + optional + 40 * count, 40)
        return max((sum(struct.unpack_from("<II", data, place + 16)) for place in places), default=0)
    except struct.error:
        return 0


def _declared(data: bytes) -> list[str]:
    """Returns the release and the build that the header of a bzImage names (boot.rst: kernel_version), which the boot
    loader shows.
    """
    (offset,) = struct.unpack_from("<H", data.ljust(0x210, b"\0"), 0x20E)
    if offset == 0:
        return []
    text = data[0x200 + offset : 0x200 + offset + _MAX_DECLARED].split(b"\0")[0].decode("ascii", "replace").strip()
    return [text] if text else []


def _bzimage(data: bytes, name: str) -> bytes:
    """Returns the compressed payload (Linux Documentation/arch/x86/boot.rst: setup_sects, payload_offset,
    payload_length).
    """
    if len(data) < 0x250:
        raise ImageError(f"{name}: a bzImage whose header is cut off")
    (version,) = struct.unpack_from("<H", data, 0x206)
    if version < 0x208:
        raise ImageError(
            f"{name}: a bzImage of boot protocol {version >> 8}.{version & 255:02}: older than 2.08 (Linux 2.6.24)"
        )
    sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (sectors + 1) * 512 + offset
    if length == 0 or start + length > len(data):
        raise ImageError(
            f"{name}: a bzImage that is cut off: its payload ends at byte {start + length:,}, the file at {len(data):,}"
        )
    return data[start : start + length]


def _s390_payload(data: bytes, name: str) -> tuple[str, bytes]:
    """Returns the compression and the kernel inside of an s390x image; the whole image if no part of it is compressed."""
    starts = (match.start() for match in _COMPRESSED.finditer(data, 0x11000))
    for start in islice(starts, _MAX_PAYLOADS):
        kind = compression_of(data[start : start + 9])
        if kind is None:
            continue
        try:
            found = decompress_payload(data[start:], name, _MAX_KERNEL)
        except BrokenDataError:
            continue
        if len(found) > _LEAST_KERNEL and b"Linux version" in found:
            return kind, found
    return "", data


def _zboot(data: bytes, name: str) -> bytes:
    """Returns the payload of an EFI zboot image (Linux drivers/firmware/efi/libstub/zboot-header.S)."""
    if len(data) < 0x38:
        raise ImageError(f"{name}: an EFI zboot image whose header is cut off")
    offset, length = struct.unpack_from("<II", data, 8)
    if length == 0 or offset + length > len(data):
        raise ImageError(f"{name}: an EFI zboot image that is cut off")
    return data[offset : offset + length]


def _pe_sections(data: bytes, name: str) -> dict[str, bytes]:
    """Returns the sections of a PE file (Microsoft's PE format, "Section Table"); raises ImageError if it is broken, or
    holds two kernels. Profiles of a unified kernel image repeat other sections: the first counts."""
    try:
        (start,) = struct.unpack_from("<I", data, 0x3C)
        mark, count, optional = struct.unpack_from("<4s2xH12xH", data, start)
        if mark != b"PE\0\0" or count > _MAX_SECTIONS:
            raise ImageError(f"{name}: a DOS or PE program, and no kernel: its header is not that of a kernel image")
        found: dict[str, bytes] = {}
        for index in range(count):
            place = start + 24 + optional + 40 * index
            raw, size, _, stored, offset = struct.unpack_from("<8sIIII", data, place)
            title = raw.rstrip(b"\0").decode("ascii", "replace")
            length = min(stored, size or stored)
            if offset + length > len(data):
                raise ImageError(f"{name}: a PE file that is cut off in its section {title!r}")
            if title in found and title in (".linux", ".uname"):
                raise ImageError(f"{name}: a PE file with two sections {title}: which kernel boots is not known")
            found.setdefault(title, data[offset : offset + length])
    except struct.error as error:
        raise ImageError(f"{name}: a PE file whose header is cut off") from error
    return found


def _linux_of(sections: dict[str, bytes], name: str) -> bytes:
    """Returns the kernel of a unified kernel image (the UAPI group's specification of it): the section .linux."""
    if ".linux" not in sections:
        raise ImageError(
            f"{name}: a PE file without a kernel: neither a bzImage nor a unified kernel image (no section .linux)"
        )
    return sections[".linux"]


def _decompress(data: bytes, name: str) -> tuple[str, bytes]:
    """Returns the compression (scripts/Makefile.lib) and the decompressed data."""
    kind = compression_of(data[:9])
    if kind is None:
        raise ImageError(
            f"{name}: not a kernel image that this tool knows (bzImage, vmlinux, arm64, riscv64 or LoongArch Image, zboot, UKI, or one of them compressed);"
            f" it starts with {data[:8].hex(' ') or 'nothing'}"
        )
    try:
        return kind, decompress_payload(data, name, _MAX_KERNEL)
    except BrokenDataError as error:
        raise ImageError(str(error)) from error
