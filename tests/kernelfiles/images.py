"""Real kernels unpacked, and wrapped again in every form that a distribution ships."""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import struct
from pathlib import Path

import lz4.block
import lz4.frame

from tailcall_audit.analyzer.kernelfiles.containers import Kernel, unpack
from tests import zstd

HEADER = 0x1000
"""Bytes of the boot sector and the set-up code in `bzimage`."""


@functools.lru_cache(maxsize=2)
def kernel(path: Path) -> Kernel:
    """The kernel in an image. The latest two are kept: each takes 50 MB."""
    return unpack(path.read_bytes(), path.name)


def sized(packed: bytes, content: bytes) -> bytes:
    """A payload as the kernel's build makes it: the size of the content behind the compressed data
    (scripts/Makefile.lib, size_append).
    """
    return packed + struct.pack("<I", len(content))


def lz4_legacy(content: bytes) -> bytes:
    """The legacy frame, in blocks of 8 MiB."""
    out = b"\x02\x21\x4c\x18"
    for start in range(0, len(content), 8 << 20):
        block = lz4.block.compress(content[start : start + (8 << 20)], store_size=False)
        out += struct.pack("<I", len(block)) + block
    return out


PACKERS = {
    "gzip": lambda content: gzip.compress(content, 1),
    "xz": lambda content: sized(lzma.compress(content, preset=0, check=lzma.CHECK_CRC32), content),
    "lzma": lambda content: sized(lzma.compress(content, format=lzma.FORMAT_ALONE, preset=0), content),
    "bzip2": lambda content: sized(bz2.compress(content, 1), content),
    "lz4": lambda content: sized(lz4_legacy(content), content),
    "zstd": lambda content: sized(zstd.compress(content, 1), content),
}


def bzimage(payload: bytes, *, efi: bool = False) -> bytes:
    """A bzImage around a payload: the fields of Documentation/arch/x86/boot.rst that say where it is."""
    head = bytearray(HEADER)
    head[0x1F1] = HEADER // 512 - 1
    head[0x1FE:0x200] = b"\x55\xaa"
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x20F)
    struct.pack_into("<II", head, 0x248, 16, len(payload))
    if efi:
        head[:2] = b"MZ"
    return bytes(head) + bytes(16) + payload + bytes(64)


def zboot(payload: bytes, compression: bytes) -> bytes:
    """An EFI zboot image (drivers/firmware/efi/libstub/zboot-header.S)."""
    head = bytearray(64)
    head[:8] = b"MZ\0\0zimg"
    struct.pack_into("<II", head, 8, 64, len(payload))
    head[24 : 24 + len(compression)] = compression
    return bytes(head) + payload


def s390_image(payload: bytes) -> bytes:
    """An s390x kernel as its decompressor wraps it: the entry of arch/s390/boot/head.S, code with the marks of a
    compression in it, and a payload whose place no header names.
    """
    head = bytearray(0x12000)
    head[0x10000:0x10010] = bytes.fromhex("a7f4000c00000000") + b"S390EP\0\1"
    head[0x11100:0x11104] = b"\x28\xb5\x2f\xfd"
    return bytes(head) + payload + bytes(64)


def unified(linux: bytes) -> bytes:
    """A PE file with the sections of a unified kernel image, of which only .linux holds anything."""
    names = [b".osrel", b".linux"]
    contents = [b"ID=debian\n", linux]
    pe = bytearray(0x80)
    pe[:2] = b"MZ"
    struct.pack_into("<I", pe, 0x3C, 0x80)
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<II", optional, 32, 4096, 512)  # alignments
    struct.pack_into("<I", optional, 108, 16)
    pe += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(names), 0, 0, 0, len(optional), 0x22) + optional
    place, address = 0x400, 0x1000
    body = b""
    for name, content in zip(names, contents, strict=True):
        raw = -(-len(content) // 512) * 512
        pe += struct.pack("<8sIIIIIIHHI", name, len(content), address, raw, place, 0, 0, 0, 0, 0x40000040)
        body += content.ljust(raw, b"\0")
        place, address = place + raw, address + -(-len(content) // 4096) * 4096
    return bytes(pe).ljust(0x400, b"\0") + body
