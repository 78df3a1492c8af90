"""BPF instructions: a small assembler with labels, and a decoder. The tests compare the two.

The encoding is described in the kernel's Documentation/bpf/standardization/instruction-set.rst: eight bytes (opcode,
registers, offset, immediate), sixteen with a 64-bit immediate. The byte order is the machine's. It also decides the
order of the two halves of the register byte.
"""

from __future__ import annotations

import struct
import sys
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NamedTuple

__all__ = ["AssemblyError", "Insn", "Program", "decode", "encode"]

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, FP = range(11)

# include/uapi/linux/bpf_common.h and bpf.h
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
_SIZES = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
_MEM = 0x60
_IMM, _REG = 0x00, 0x08
_ALU = {"+": 0x00, "-": 0x10, "*": 0x20, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70, "^": 0xA0, "=": 0xB0}
_JUMPS = {"==": 0x10, ">": 0x20, ">=": 0x30, "!=": 0x50, "s>": 0x60, "<": 0xA0, "<=": 0xB0, "s<": 0xC0}
_JA, _CALL, _EXIT = 0x00, 0x80, 0x90
_LD_IMM64 = 0x18
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_FUNC = 1, 2, 4
_PSEUDO_CALL = 1
HELPER_TAIL_CALL = 12
"""BPF_FUNC_tail_call."""
_MARKS = {"little": "<", "big": ">"}


class AssemblyError(ValueError):
    """A program that cannot be encoded: an unknown or duplicate label, or a value out of range."""


if TYPE_CHECKING:

    class Insn(NamedTuple):
        """One instruction. `imm` is signed; it is 64 bits wide in a LD_IMM64."""

        code: int
        dst: int = 0
        src: int = 0
        off: int = 0
        imm: int = 0
else:
    # With typing.NamedTuple, each start in an emulated guest would load typing, which takes a tenth of a second.
    Insn = namedtuple("Insn", "code dst src off imm", defaults=(0, 0, 0, 0))


def _within(value: int, bits: int, what: str) -> None:
    if not -(1 << (bits - 1)) <= value < (1 << (bits - 1)):
        raise AssemblyError(f"{what} {value} does not fit into {bits} bits")


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
        _within(insn.off, 16, "offset")
        registers = _registers(insn.dst, insn.src, order)
        if insn.code == _LD_IMM64:
            if not -(1 << 63) <= insn.imm < 1 << 64:
                raise AssemblyError(f"immediate {insn.imm} does not fit into 64 bits")
            wide = insn.imm & 0xFFFFFFFFFFFFFFFF
            out += unsigned.pack(insn.code, registers, insn.off, wide & 0xFFFFFFFF)
            out += unsigned.pack(0, 0, 0, wide >> 32)
        else:
            _within(insn.imm, 32, "immediate")
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
        if code == _LD_IMM64:
            if position == len(data):
                raise AssemblyError("the second half of a 64-bit immediate is missing")
            (high,) = struct.unpack_from(f"{mark}i", data, position + 4)
            imm = (high << 32) | (imm & 0xFFFFFFFF)
            position += 8
        first, second = registers & 15, registers >> 4
        dst, src = (first, second) if order == "little" else (second, first)
        found.append(Insn(code, dst, src, off, imm))
    return found


class Program:
    """Collects instructions. Jumps, calls and function addresses refer to labels, which may be set earlier or later.

    Each function of a program begins with `function`, because the verifier and BTF need the start of each.
    """

    def __init__(self) -> None:
        self._insns: list[tuple[Insn, str | None]] = []
        self._slots = 0
        self._labels: dict[str, int] = {}
        self.functions: dict[str, int] = {}

    def _add(
        self, code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0, label: str | None = None
    ) -> Program:
        self._insns.append((Insn(code, dst, src, off, imm), label))
        self._slots += 2 if code == _LD_IMM64 else 1
        return self

    def label(self, name: str) -> Program:
        """Sets a label for the next instruction."""
        if name in self._labels:
            raise AssemblyError(f"label {name!r} is set twice")
        self._labels[name] = self._slots
        return self

    def function(self, name: str) -> Program:
        """Begins a function. All functions except the first are subprograms."""
        self.functions[name] = self._slots
        return self.label(name)

    def mov(self, dst: int, src: int) -> Program:
        """``dst = src``; both are registers."""
        return self._add(ALU64 | _REG | _ALU["="], dst, src)

    def set(self, dst: int, value: int) -> Program:
        """``dst = value``; a 32-bit immediate, which is sign-extended."""
        return self._add(ALU64 | _IMM | _ALU["="], dst, imm=value)

    def alu(self, dst: int, operator: str, value: int) -> Program:
        """``dst operator= value``; 64 bits wide."""
        return self._add(ALU64 | _IMM | _ALU[operator], dst, imm=value)

    def alu_reg(self, dst: int, operator: str, src: int) -> Program:
        """``dst operator= src``; 64 bits wide."""
        return self._add(ALU64 | _REG | _ALU[operator], dst, src)

    def load(self, size: int, dst: int, src: int, off: int) -> Program:
        """``dst = *(size *)(src + off)``."""
        return self._add(LDX | _MEM | _SIZES[size], dst, src, off)

    def store(self, size: int, dst: int, off: int, src: int) -> Program:
        """``*(size *)(dst + off) = src``."""
        return self._add(STX | _MEM | _SIZES[size], dst, src, off)

    def store_imm(self, size: int, dst: int, off: int, value: int) -> Program:
        """``*(size *)(dst + off) = value``."""
        return self._add(ST | _MEM | _SIZES[size], dst, 0, off, value)

    def jump(self, label: str) -> Program:
        """Jumps to a label."""
        return self._add(JMP | _JA, label=label)

    def jump_if(self, dst: int, operator: str, value: int, label: str) -> Program:
        """Jumps to a label if ``dst operator value``."""
        return self._add(JMP | _IMM | _JUMPS[operator], dst, imm=value, label=label)

    def jump_if_reg(self, dst: int, operator: str, src: int, label: str) -> Program:
        """Jumps to a label if ``dst operator src``."""
        return self._add(JMP | _REG | _JUMPS[operator], dst, src, label=label)

    def map_fd(self, dst: int, descriptor: int) -> Program:
        """``dst = the map with this descriptor``."""
        return self._add(_LD_IMM64, dst, PSEUDO_MAP_FD, imm=descriptor)

    def map_value(self, dst: int, descriptor: int, offset: int = 0) -> Program:
        """``dst = the address of the first value of an array map, plus offset``; needs no lookup and no stack."""
        return self._add(_LD_IMM64, dst, PSEUDO_MAP_VALUE, imm=offset << 32 | descriptor)

    def function_address(self, dst: int, name: str) -> Program:
        """``dst = the address of a function``, to pass to helpers as a callback."""
        return self._add(_LD_IMM64, dst, PSEUDO_FUNC, label=name)

    def helper(self, number: int) -> Program:
        """Calls a helper."""
        return self._add(JMP | _CALL, imm=number)

    def call(self, function: str) -> Program:
        """Calls a function of this program (a bpf2bpf call)."""
        return self._add(JMP | _CALL, src=_PSEUDO_CALL, label=function)

    def exit(self) -> Program:
        """Exits the function; it returns R0."""
        return self._add(JMP | _EXIT)

    @property
    def insns(self) -> list[Insn]:
        """Returns the instructions with resolved labels. Raises AssemblyError if a label is unknown or too far away."""
        found = []
        slot = 0
        for insn, label in self._insns:
            width = 2 if insn.code == _LD_IMM64 else 1
            if label is not None:
                if label not in self._labels:
                    raise AssemblyError(f"no label {label!r}")
                distance = self._labels[label] - slot - 1
                if insn.code == _LD_IMM64 or (insn.code == JMP | _CALL and insn.src == _PSEUDO_CALL):
                    insn = insn._replace(imm=distance)  # noqa: PLW2901
                    if insn.code == _LD_IMM64:
                        insn = insn._replace(imm=distance & 0xFFFFFFFF)  # noqa: PLW2901
                else:
                    insn = insn._replace(off=distance)  # noqa: PLW2901
            found.append(insn)
            slot += width
        return found

    def encode(self) -> bytes:
        """Returns the program's bytes."""
        return encode(self.insns)
