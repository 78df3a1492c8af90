"""Objects for big-endian machines: their BTF as a little-endian one, their instructions decoded.

All fields of BTF and .BTF.ext but the magic are 32 bits wide or single bytes, so swapping the bytes of each word makes
one from the other (Linux Documentation/bpf/btf.rst).
"""

from __future__ import annotations

import struct
from array import array

from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["decode_instructions", "little_btf", "little_btf_ext"]

_LD_IMM64 = 0x18
_BTF_HEADER = struct.Struct(">HBBIIIII")
_MAGIC = 0xEB9F


def _swapped(data: bytes) -> bytes:
    words = array("I", data[: len(data) // 4 * 4])
    words.byteswap()
    return words.tobytes()


def little_btf(data: bytes) -> bytes:
    """Returns big-endian BTF as little-endian; raises ProgramsError where its header names more than there is."""
    if len(data) < _BTF_HEADER.size:
        raise ProgramsError("its BTF is too short for a header")
    magic, version, flags, length, types, types_size, strings, strings_size = _BTF_HEADER.unpack_from(data)
    start, names = length + types, length + strings
    if magic != _MAGIC or start + types_size > len(data) or names + strings_size > len(data):
        raise ProgramsError("the header of its BTF names more than there is")
    header = struct.pack("<HBBIIIII", magic, version, flags, _BTF_HEADER.size, 0, types_size, types_size, strings_size)
    return header + _swapped(data[start : start + types_size]) + data[names : names + strings_size]


def little_btf_ext(data: bytes) -> bytes:
    """Returns a big-endian .BTF.ext section as a little-endian one."""
    if len(data) < 8:
        raise ProgramsError("its .BTF.ext is too short for a header")
    return data[1::-1] + data[2:4] + _swapped(data[4:])


def decode_instructions(data: bytes, big_endian: bool) -> list[Insn]:
    """Returns the instructions in bytes; raises ProgramsError where they are no whole number of instructions.

    On big-endian machines the destination is the upper half of the byte of registers.
    """
    if len(data) % 8:
        raise ProgramsError(f"{len(data)} bytes are no whole number of instructions")
    found: list[Insn] = []
    add, make = found.append, Insn
    rows = struct.iter_unpack(">BBhi" if big_endian else "<BBhi", data)
    for code, registers, off, imm in rows:
        dst, src = (registers >> 4, registers & 15) if big_endian else (registers & 15, registers >> 4)
        if code == _LD_IMM64:
            second = next(rows, None)
            if second is None:
                raise ProgramsError("the second half of a 64-bit immediate is missing")
            add(make(code, dst, src, off, second[3] << 32 | imm & 0xFFFFFFFF))
        else:
            add(make(code, dst, src, off, imm))
    return found
