"""BPF instructions one by one: an encoder and a decoder, in either byte order. A guest does not load them; it has the
assembler alone (`tailcall_audit.probes.kernel.assembler`).
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple

from tailcall_audit.probes.kernel.assembler import LD_IMM64, AssemblyError, Program, within

__all__ = ["Insn", "decode", "encode", "insns_of"]

_MARKS = {"little": "<", "big": ">"}


class Insn(NamedTuple):
    """One instruction. `imm` is signed; it is 64 bits wide in a LD_IMM64."""

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0


def _registers(dst: int, src: int, order: str) -> int:
    """Returns the byte with the registers. In struct bpf_insn they are bit fields, whose order is reversed on
    big-endian machines.
    """
    return dst | src << 4 if order == "little" else dst << 4 | src


def encode(insns: Iterable[Insn], order: str = sys.byteorder) -> bytes:
    """Encodes instructions in a byte order ("little" or "big"). Raises AssemblyError if a field is out of range."""
    out = bytearray()
    mark = _MARKS[order]
    signed, unsigned = struct.Struct(f"{mark}BBhi"), struct.Struct(f"{mark}BBhI")
    for insn in insns:
        if not (0 <= insn.code < 256 and 0 <= insn.dst < 16 and 0 <= insn.src < 16):
            raise AssemblyError(f"no such opcode or register: {insn}")
        within(insn.off, 16, "offset")
        registers = _registers(insn.dst, insn.src, order)
        if insn.code == LD_IMM64:
            if not -(1 << 63) <= insn.imm < 1 << 64:
                raise AssemblyError(f"immediate {insn.imm} does not fit into 64 bits")
            wide = insn.imm & 0xFFFFFFFFFFFFFFFF
            out += unsigned.pack(insn.code, registers, insn.off, wide & 0xFFFFFFFF)
            out += unsigned.pack(0, 0, 0, wide >> 32)
        else:
            within(insn.imm, 32, "immediate")
            out += signed.pack(insn.code, registers, insn.off, insn.imm)
    return bytes(out)


def decode(data: bytes, order: str = sys.byteorder) -> list[Insn]:
    """Decodes instructions in a byte order. Raises AssemblyError if the data ends within an instruction."""
    if len(data) % 8:
        raise AssemblyError(f"{len(data)} bytes are no whole number of instructions")
    found = []
    position = 0
    mark = _MARKS[order]
    while position < len(data):
        code, registers, off, imm = struct.unpack_from(f"{mark}BBhi", data, position)
        position += 8
        if code == LD_IMM64:
            if position == len(data):
                raise AssemblyError("the second half of a 64-bit immediate is missing")
            (high,) = struct.unpack_from(f"{mark}i", data, position + 4)
            imm = (high << 32) | (imm & 0xFFFFFFFF)
            position += 8
        first, second = registers & 15, registers >> 4
        dst, src = (first, second) if order == "little" else (second, first)
        found.append(Insn(code, dst, src, off, imm))
    return found


def insns_of(program: Program) -> list[Insn]:
    """Returns the instructions of a program with resolved labels. Raises AssemblyError as its `encode` does."""
    return decode(program.encode())
