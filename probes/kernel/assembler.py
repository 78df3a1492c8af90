"""Assembles BPF programs with labels.

The encoding is described in the kernel's Documentation/bpf/standardization/instruction-set.rst: eight bytes (opcode,
registers, offset, immediate), sixteen with a 64-bit immediate. The byte order is the machine's. It also decides the
order of the two halves of the register byte. The decoder is in `tailcall_audit.probes.kernel.instructions`, which a
guest does not load. The tests compare the two.
"""

from __future__ import annotations

import struct
import sys

__all__ = [
    "FP",
    "HELPER_TAIL_CALL",
    "LD_IMM64",
    "PSEUDO_FUNC",
    "PSEUDO_MAP_FD",
    "PSEUDO_MAP_VALUE",
    "R0",
    "R1",
    "R2",
    "R3",
    "R4",
    "R5",
    "R6",
    "R7",
    "R8",
    "R9",
    "AssemblyError",
    "Program",
    "within",
]

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, FP = range(11)

# include/uapi/linux/bpf_common.h and bpf.h
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
_SIZES = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
_MEM = 0x60
_IMM, _REG = 0x00, 0x08
_ALU = {"+": 0x00, "-": 0x10, "*": 0x20, "|": 0x40, "&": 0x50, "<<": 0x60, ">>": 0x70, "^": 0xA0, "=": 0xB0}
_JUMPS = {"==": 0x10, ">": 0x20, ">=": 0x30, "!=": 0x50, "s>": 0x60, "<": 0xA0, "<=": 0xB0, "s<": 0xC0}
_JA, _CALL, _EXIT = 0x00, 0x80, 0x90
LD_IMM64 = 0x18
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_FUNC = 1, 2, 4
_PSEUDO_CALL = 1
HELPER_TAIL_CALL = 12
"""BPF_FUNC_tail_call."""


class AssemblyError(ValueError):
    """A program that cannot be encoded: an unknown or duplicate label, or a value out of range."""


def within(value: int, bits: int, what: str) -> None:
    """Raises AssemblyError if a signed value does not fit into this number of bits."""
    if not -(1 << (bits - 1)) <= value < (1 << (bits - 1)):
        raise AssemblyError(f"{what} {value} does not fit into {bits} bits")


_BIG = sys.byteorder == "big"
_NARROW, _WIDE = struct.Struct("=BBhi"), struct.Struct("=BBhI4xI")
_OFFSET, _IMMEDIATE = struct.Struct("=h"), struct.Struct("=i")
_OFFSET_AT, _IMMEDIATE_AT, _SLOT = 2, 4, 8
"""The places of the offset and of the immediate in an instruction, and its bytes."""


class Program:
    """Collects instructions. Jumps, calls and function addresses refer to labels, which may be set earlier or later.

    Each function of a program begins with `function`, because the verifier and BTF need the start of each.
    """

    # Instructions become bytes at once: an emulated guest spends most of a probe's time on its Python code.
    def __init__(self) -> None:
        self._code = bytearray()
        self._jumps: list[tuple[int, str]] = []
        self._addresses: list[tuple[int, str]] = []
        self._labels: dict[str, int] = {}
        self.functions: dict[str, int] = {}

    def _add(self, code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> Program:
        try:
            self._code += _NARROW.pack(code, dst << 4 | src if _BIG else dst | src << 4, off, imm)
        except struct.error:
            within(off, 16, "offset")
            within(imm, 32, "immediate")
            raise AssemblyError(f"no such registers: {dst}, {src}") from None
        return self

    def _add_wide(self, dst: int, src: int, imm: int) -> Program:
        registers = dst << 4 | src if _BIG else dst | src << 4
        self._code += _WIDE.pack(LD_IMM64, registers, 0, imm & 0xFFFFFFFF, imm >> 32 & 0xFFFFFFFF)
        return self

    @property
    def slots(self) -> int:
        """Returns how many instructions it has; a wide one counts as two."""
        return len(self._code) // _SLOT

    def label(self, name: str) -> Program:
        """Sets a label for the next instruction."""
        if name in self._labels:
            raise AssemblyError(f"label {name!r} is set twice")
        self._labels[name] = self.slots
        return self

    def function(self, name: str) -> Program:
        """Begins a function. All functions except the first are subprograms."""
        self.functions[name] = self.slots
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
        self._jumps.append((len(self._code), label))
        return self._add(JMP | _JA)

    def jump_if(self, dst: int, operator: str, value: int, label: str) -> Program:
        """Jumps to a label if ``dst operator value``."""
        self._jumps.append((len(self._code), label))
        return self._add(JMP | _IMM | _JUMPS[operator], dst, imm=value)

    def jump_if_reg(self, dst: int, operator: str, src: int, label: str) -> Program:
        """Jumps to a label if ``dst operator src``."""
        self._jumps.append((len(self._code), label))
        return self._add(JMP | _REG | _JUMPS[operator], dst, src)

    def map_fd(self, dst: int, descriptor: int) -> Program:
        """``dst = the map with this descriptor``."""
        return self._add_wide(dst, PSEUDO_MAP_FD, descriptor)

    def map_value(self, dst: int, descriptor: int, offset: int = 0) -> Program:
        """``dst = the address of the first value of an array map, plus offset``; needs no lookup and no stack."""
        return self._add_wide(dst, PSEUDO_MAP_VALUE, offset << 32 | descriptor)

    def function_address(self, dst: int, name: str) -> Program:
        """``dst = the address of a function``, to pass to helpers as a callback."""
        self._addresses.append((len(self._code), name))
        return self._add_wide(dst, PSEUDO_FUNC, 0)

    def helper(self, number: int) -> Program:
        """Calls a helper."""
        return self._add(JMP | _CALL, imm=number)

    def call(self, function: str) -> Program:
        """Calls a function of this program (a bpf2bpf call)."""
        self._addresses.append((len(self._code), function))
        return self._add(JMP | _CALL, src=_PSEUDO_CALL)

    def exit(self) -> Program:
        """Exits the function; it returns R0."""
        return self._add(JMP | _EXIT)

    def _distance(self, place: int, label: str) -> int:
        """Returns how many instructions are between the one behind a place and a label."""
        if label not in self._labels:
            raise AssemblyError(f"no label {label!r}")
        return self._labels[label] - place // _SLOT - 1

    def encode(self) -> bytes:
        """Returns the program's bytes. Raises AssemblyError if a label is unknown or too far away."""
        code = bytearray(self._code)
        for place, label in self._jumps:
            distance = self._distance(place, label)
            within(distance, 16, "offset")
            _OFFSET.pack_into(code, place + _OFFSET_AT, distance)
        for place, label in self._addresses:
            _IMMEDIATE.pack_into(code, place + _IMMEDIATE_AT, self._distance(place, label))
        return bytes(code)
