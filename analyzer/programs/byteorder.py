"""Handles objects for big-endian machines: converts .BTF.ext to little endian and decodes the instructions.

All fields of .BTF.ext except the magic are 32 bits wide or single bytes, so that swapping the bytes of each word
converts the section (Linux Documentation/bpf/btf.rst).
"""

from __future__ import annotations

import sys
from array import array
from functools import partial

from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["decode_instructions", "little_btf_ext"]

_LD_IMM64 = 0x18
_LOW, _HIGH = bytes(byte & 15 for byte in range(256)), bytes(byte >> 4 for byte in range(256))
_as_insn = partial(tuple.__new__, Insn)
"""Makes an instruction of its five fields, without a check of them: there is one for each instruction."""


def _column(kind: str, data: bytes, big_endian: bool) -> array[int]:
    """Returns the second number of 16 bits ("h", the offset) or of 32 bits ("i", the immediate) of each instruction."""
    numbers = array(kind, data)
    if big_endian != (sys.byteorder == "big"):
        numbers.byteswap()
    return numbers[1::4] if kind == "h" else numbers[1::2]


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
    codes, registers = bytes(data[::8]), bytes(data[1::8])
    low, high = registers.translate(_LOW), registers.translate(_HIGH)
    dst, src = (high, low) if big_endian else (low, high)
    fields = zip(codes, dst, src, _column("h", data, big_endian), _column("i", data, big_endian), strict=True)
    rows = list(map(_as_insn, fields))
    found: list[Insn] = []
    start, wide = 0, codes.find(_LD_IMM64)
    while wide >= 0:
        if wide + 1 == len(rows):
            raise ProgramsError("the second half of a 64-bit immediate is missing")
        first = rows[wide]
        found += rows[start:wide]
        found.append(first._replace(imm=rows[wide + 1].imm << 32 | first.imm & 0xFFFFFFFF))
        start, wide = wide + 2, codes.find(_LD_IMM64, wide + 2)
    return found + rows[start:]
