"""From what a distribution ships to the kernel inside: bzImage, EFI stub, unified kernel image, zboot, compressed files, plain ELF.

Nothing is executed. Every step is bounded: an image may claim anything.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from tailcall_audit.analyzer.libraries import compression_errors, pefile_errors
from tailcall_audit.analyzer.model import AuditError

__all__ = ["ImageError", "Kernel", "unpack"]

_MAX_KERNEL = 512 << 20
"""The largest distribution kernel with debug data left in unpacks to some 400 MB."""
_MAX_LEVELS = 5
_CHUNK = 1 << 20
_LZ4_BLOCK = 8 << 20
_LZO_BLOCK = 64 << 20

_MACHINES = {62: "x86_64", 183: "arm64", 3: "i386", 22: "s390x", 21: "powerpc64", 243: "riscv64", 258: "loongarch64"}
"""e_machine of the ELF header (elf(5))."""


class ImageError(AuditError):
    """A file that is no kernel image, or a broken one."""


class Kernel(NamedTuple):
    """The kernel of an image: `form` is what it was wrapped in, outermost first; `architecture` is None where it can't be told."""

    data: bytes
    form: tuple[str, ...]
    architecture: str | None
    is_elf: bool


def unpack(data: bytes, name: str) -> Kernel:
    """Unwrap an image down to the kernel; raises ImageError."""
    form: list[str] = []
    for _ in range(_MAX_LEVELS):
        if data[:4] == b"\x7fELF":
            if len(data) < 64:
                raise ImageError(f"{name}: an ELF header that is cut off")
            (machine,) = struct.unpack_from("<H" if data[5] == 1 else ">H", data, 18)
            return Kernel(data, (*form, "ELF"), _MACHINES.get(machine), True)
        if data[0x202:0x206] == b"HdrS":
            kind, data = "bzImage", _bzimage(data, name)
        elif data[:2] == b"MZ" and data[4:8] == b"zimg":
            kind, data = "EFI zboot image", _zboot(data, name)
        elif data[0x38:0x3C] == b"ARM\x64":
            return Kernel(data, (*form, "arm64 Image"), "arm64", False)
        elif data[:2] == b"MZ":
            kind, data = "unified kernel image", _unified(data, name)
        else:
            kind, data = _decompress(data, name)
        form.append(kind)
    raise ImageError(f"{name}: wrapped more than {_MAX_LEVELS} times")


def _bzimage(data: bytes, name: str) -> bytes:
    """The compressed payload (Linux Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length)."""
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


def _zboot(data: bytes, name: str) -> bytes:
    """The payload of an EFI zboot image (Linux drivers/firmware/efi/libstub/zboot-header.S)."""
    if len(data) < 0x38:
        raise ImageError(f"{name}: an EFI zboot image whose header is cut off")
    offset, length = struct.unpack_from("<II", data, 8)
    if length == 0 or offset + length > len(data):
        raise ImageError(f"{name}: an EFI zboot image that is cut off")
    return data[offset : offset + length]


def _unified(data: bytes, name: str) -> bytes:
    """The kernel of a unified kernel image: the section .linux of a PE file."""
    import pefile

    with pefile_errors(lambda words: ImageError(f"{name}: a PE file that cannot be read: {words}")):
        found = pefile.PE(data=data, fast_load=True)
        for section in found.sections:
            if section.Name.rstrip(b"\0") == b".linux":
                size = min(section.SizeOfRawData, section.Misc_VirtualSize or section.SizeOfRawData)
                return bytes(section.get_data(length=size))
    raise ImageError(
        f"{name}: a PE file without a kernel: neither a bzImage nor a unified kernel image (no section .linux)"
    )


def _decompress(data: bytes, name: str) -> tuple[str, bytes]:
    """What is behind a compression that the kernel's build knows (scripts/Makefile.lib); the payload may have a size behind it."""
    start = data[:9]
    readers = (
        (b"\x1f\x8b", "gzip", _gzip),
        (b"\xfd7zXZ\0", "xz", _xz),
        (b"\x28\xb5\x2f\xfd", "zstd", _zstd),
        (b"\x02\x21\x4c\x18", "lz4", _lz4_legacy),
        (b"\x04\x22\x4d\x18", "lz4", _lz4_frame),
        (b"BZh", "bzip2", _bzip2),
        (b"\x5d\0\0", "lzma", _lzma),
        (b"\x89LZO\0\r\n\x1a\n", "lzo", _lzo),
    )
    for magic, kind, read in readers:
        if start.startswith(magic):
            content = _read(read, data, name, kind)
            if not content:
                raise ImageError(f"{name}: broken {kind} data: there is nothing in it")
            return kind, content
    raise ImageError(
        f"{name}: not a kernel image that this tool knows (bzImage, vmlinux, arm64 Image, zboot, UKI, or one of them compressed);"
        f" it starts with {data[:8].hex(' ') or 'nothing'}"
    )


def _read(read: Callable[[bytes], bytes], data: bytes, name: str, kind: str) -> bytes:
    try:
        with compression_errors(lambda words: ImageError(f"broken {kind} data: {words}")):
            return read(data)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def _bounded(size: int) -> None:
    if size > _MAX_KERNEL:
        raise ImageError(f"it unpacks to more than {_MAX_KERNEL >> 20} MiB, which no kernel does")


def _gzip(data: bytes) -> bytes:
    import zlib

    stream = zlib.decompressobj(31)
    content = stream.decompress(data, _MAX_KERNEL + 1)
    _bounded(len(content))
    if not stream.eof:
        raise ImageError("gzip data that is cut off")
    return content


def _with_lzma(data: bytes, form: int) -> bytes:
    import lzma

    stream = lzma.LZMADecompressor(format=form, memlimit=1 << 30)
    content = stream.decompress(data, _MAX_KERNEL + 1)
    _bounded(len(content))
    if not stream.eof:
        # The kernel writes the size of an lzma stream behind it, not in it: such a stream has no end of its own.
        (size,) = struct.unpack_from("<I", data, len(data) - 4)
        if form != lzma.FORMAT_ALONE or len(content) < size:
            raise ImageError("xz or lzma data that is cut off")
        content = content[:size]
    return content


def _xz(data: bytes) -> bytes:
    import lzma

    return _with_lzma(data, lzma.FORMAT_XZ)


def _lzma(data: bytes) -> bytes:
    import lzma

    return _with_lzma(data, lzma.FORMAT_ALONE)


def _bzip2(data: bytes) -> bytes:
    import bz2

    stream = bz2.BZ2Decompressor()
    content = stream.decompress(data, _MAX_KERNEL + 1)
    _bounded(len(content))
    if not stream.eof:
        raise ImageError("bzip2 data that is cut off")
    return content


def _zstd(data: bytes) -> bytes:
    import zstandard

    # The kernel's windows reach 128 MiB (zstd --ultra -22).
    stream = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj(write_size=_CHUNK)
    known = zstandard.frame_content_size(data[:18])
    if known > 0:
        _bounded(known)
    parts, size = [], 0
    for position in range(0, len(data), 1 << 16):
        part = stream.decompress(data[position : position + (1 << 16)])
        size += len(part)
        _bounded(size)
        parts.append(part)
        if stream.eof:
            return b"".join(parts)
    raise ImageError("zstd data that is cut off")


def _lz4_frame(data: bytes) -> bytes:
    import lz4.frame

    stream = lz4.frame.LZ4FrameDecompressor()
    content = bytes(stream.decompress(data, max_length=_MAX_KERNEL + 1))
    _bounded(len(content))
    if not stream.eof:
        raise ImageError("lz4 data that is cut off")
    return content


def _lz4_legacy(data: bytes) -> bytes:
    """The legacy frame that `lz4 -l` writes: blocks, each with its size, that unpack to 8 MiB but for the last."""
    import lz4.block

    parts: list[bytes] = []
    position, size = 4, 0
    while position + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, position)
        if position + 4 + length > len(data) or length == 0:
            break  # the size that the kernel's build puts behind the payload
        part = lz4.block.decompress(data[position + 4 : position + 4 + length], uncompressed_size=_LZ4_BLOCK)
        parts.append(part)
        size += len(part)
        _bounded(size)
        position += 4 + length
    left = len(data) - position
    (claimed,) = struct.unpack_from("<I", data, len(data) - 4) if left == 4 else (size,)
    if left not in (0, 4) or claimed != size:
        raise ImageError("lz4 data that is cut off")
    return b"".join(parts)


def _lzo(data: bytes) -> bytes:
    """What `lzop` writes (the kernel's lib/decompress_unlzo.c reads it so): a header, and blocks with their sizes and checksums."""
    try:
        from lzallright import LZOCompressor
    except ImportError as error:
        raise ImageError("lzo data, and the library to unpack it is not installed (pip install lzallright)") from error

    position = 9
    (version,) = struct.unpack_from(">H", data, position)
    position += 7 if version >= 0x940 else 5
    position += 1 if version >= 0x940 else 0  # level
    (flags,) = struct.unpack_from(">I", data, position)
    position += 4 + (4 if flags & 0x800 else 0)  # a filter
    position += 12 if version >= 0x940 else 8  # mode and times
    position += 1 + data[position] + 4  # name, checksum
    parts: list[bytes] = []
    size = 0
    while True:
        (length,) = struct.unpack_from(">I", data, position)
        position += 4
        if length == 0:
            return b"".join(parts)
        (packed,) = struct.unpack_from(">I", data, position)
        if length > _LZO_BLOCK or packed > length:
            raise ImageError("lzo data with a block of an impossible size")
        position += 4 + (4 if flags & 0x1 else 0) + (4 if flags & 0x100 else 0)
        if packed < length:
            position += (4 if flags & 0x2 else 0) + (4 if flags & 0x200 else 0)
        block = data[position : position + packed]
        if len(block) != packed:
            raise ImageError("lzo data that is cut off")
        parts.append(block if packed == length else LZOCompressor.decompress(block, output_size_hint=length))
        size += length
        _bounded(size)
        position += packed
