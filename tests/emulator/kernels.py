"""Kernels of a few instructions, made by hand."""

from __future__ import annotations

import struct

from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.containers import unpack

TEXT = 0xFFFF_FFFF_8100_0000
DATA = 0xFFFF_FFFF_8200_0000
PAGE = 0x1000


def tiny_kernel(code: bytes, data: bytes = bytes(64)) -> KernelImage:
    """An ELF file for x86-64 with code at TEXT, data at DATA, and per-CPU data linked at 0, as Debian's have; no
    symbols, no BTF.
    """
    parts = ((5, TEXT, code.ljust(0x20000, b"\xcc")), (6, DATA, data), (6, 0, bytes(256)))
    place = PAGE
    headers, body = b"", b""
    for flags, address, content in parts:
        headers += struct.pack("<IIQQQQQQ", 1, flags, place, address, address, len(content), len(content), PAGE)
        padded = content + bytes(-len(content) % PAGE)
        body += padded
        place += len(padded)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = identity + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, TEXT, 64, 0, 0, 64, 56, len(parts), 64, 0, 0)
    return KernelImage(Binary(unpack((header + headers).ljust(PAGE, b"\0") + body, "tiny")), "x86_64")
