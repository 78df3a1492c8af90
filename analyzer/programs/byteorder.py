"""Handles objects for big-endian machines: converts .BTF.ext to little endian and decodes the instructions.

All fields of .BTF.ext except the magic are 32 bits wide or single bytes, so that swapping the bytes of each word
converts the section (Linux Documentation/bpf/btf.rst).
"""

from __future__ import annotations

import struct
from array import array

from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["decode_instructions", "little_btf_ext"]

_LD_IMM64 = 0x18


def _swapped(data: bytes) -> bytes:
    words = array("I", data[: len(data) // 4 * 4])
    words.byteswap()
    return words.tobytes()


def little_btf_ext(data: bytes) -> bytes:
    """Returns a big-endian .BTF.ext section as a little-endian one."""
    if len(data) < 8:
        raise ProgramsError("its .BTF.ext is too short for a header")
    return data[1::-1] + data[2:4] + _swapped(data[4:])


def decode_instructions(data: bytes, big_endian: bool) -> list[Insn]:
    """Decodes instructions from bytes. Raises ProgramsError if the length is not a whole number of instructions.

    On big-endian machines, the upper half of the register byte is the destination.
    """
    if len(data) % 8:
        raise ProgramsError(f"{len(data)} bytes are no whole number of instructions")
    found: list[Insn] = []
    add, new = found.append, tuple.__new__  # which makes a named tuple without a check of its fields
    rows = struct.iter_unpack(">BBhi" if big_endian else "<BBhi", data)
    for code, registers, off, imm in rows:
        dst, src = (registers >> 4, registers & 15) if big_endian else (registers & 15, registers >> 4)
        if code == _LD_IMM64:
            second = next(rows, None)
            if second is None:
                raise ProgramsError("the second half of a 64-bit immediate is missing")
            add(new(Insn, (code, dst, src, off, second[3] << 32 | imm & 0xFFFFFFFF)))
        else:
            add(new(Insn, (code, dst, src, off, imm)))
    return found
