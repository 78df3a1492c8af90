"""Interprets the loader of a light skeleton without a kernel, to learn what it would load.

A light skeleton is a BPF program that makes bpf(2) calls, and a block of data with their attributes
(tools/lib/bpf/gen_loader.c). The program moves and stores words, and jumps on results. In this interpreter every call
succeeds and is recorded. No instruction runs natively, and memory accesses are confined to three areas.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.flow import slots_of
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["Call", "Loading", "run_loader"]

_MAX_STEPS = 2_000_000
_MASK = (1 << 64) - 1
_STACK, _CONTEXT, _DATA = 1 << 40, 2 << 40, 3 << 40
_STACK_SIZE, _CONTEXT_SIZE = 512, 1 << 16
_LD_IMM64, _CALL, _EXIT = 0x18, 0x85, 0x95
_IDX_VALUE = 6
"""BPF_PSEUDO_MAP_IDX_VALUE: an offset in the block of data."""
_SYS_BPF, _FIND_BTF, _PROBE_READ, _COPY_FROM_USER = 166, 167, 113, 148
_FIRST_DESCRIPTOR = 1000
_WIDTHS = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}


class Call(NamedTuple):
    """A bpf(2) call: its command, its attributes, and the file descriptor that it returned."""

    command: int
    attributes: bytes
    descriptor: int


class Loading:
    """The memory of a loader while it is interpreted, and the calls that it made."""

    def __init__(self, data: bytes) -> None:
        self._memory = {
            _STACK: bytearray(_STACK_SIZE),
            _CONTEXT: bytearray(_CONTEXT_SIZE),
            _DATA: bytearray(data),
        }
        self.calls: list[Call] = []

    def read(self, address: int, size: int) -> bytes:
        """Returns the bytes at an address. Raises ProgramsError outside of the loader's memory."""
        place = address & ((1 << 40) - 1)
        memory = self._memory.get(address - place)
        if memory is None or place + size > len(memory):
            raise ProgramsError("its loader reads outside of its data")
        return bytes(memory[place : place + size])

    def write(self, address: int, data: bytes) -> None:
        """Sets the bytes at an address. Raises ProgramsError outside of the loader's memory."""
        place = address & ((1 << 40) - 1)
        memory = self._memory.get(address - place)
        if memory is None or place + len(data) > len(memory):
            raise ProgramsError("its loader writes outside of its data")
        memory[place : place + len(data)] = data

    def call(self, helper: int, registers: list[int]) -> int:
        """Returns the result of a helper: a descriptor for a bpf(2) call, 1 for a BTF search, otherwise 0."""
        if helper == _SYS_BPF:
            attributes = self.read(registers[2], min(registers[3], 1 << 12))
            self.calls.append(Call(registers[1], attributes, _FIRST_DESCRIPTOR + len(self.calls)))
            return self.calls[-1].descriptor
        if helper in (_PROBE_READ, _COPY_FROM_USER) and registers[3] and registers[2] <= _CONTEXT_SIZE:
            try:
                self.write(registers[1], self.read(registers[3], registers[2]))
            except ProgramsError:
                return 0  # the source is data that user space supplies
        elif helper == _PROBE_READ and registers[2] <= _STACK_SIZE:
            self.write(registers[1], bytes(registers[2]))
        return 1 if helper == _FIND_BTF else 0


def run_loader(instructions: Sequence[Insn], data: bytes, steps: int = _MAX_STEPS) -> Loading:
    """Returns the calls that a loader makes. Raises ProgramsError if it is not a loader or does not end within
    `steps`.
    """
    loading = Loading(data)
    slots = slots_of(instructions)
    by_slot = {slot: index for index, slot in enumerate(slots)}
    registers = [0] * 11
    registers[1], registers[10] = _CONTEXT, _STACK + _STACK_SIZE
    index = 0
    for _ in range(steps):
        if index >= len(instructions):
            raise ProgramsError("its loader runs over its end")
        insn = instructions[index]
        if insn.code == _EXIT:
            return loading
        if insn.dst > 10 or insn.src > 10:
            raise ProgramsError("its loader has a register that there is not")
        taken = _step(insn, registers, loading)
        if taken is None:
            index += 1
            continue
        target = by_slot.get(slots[index] + 1 + taken)
        if target is None:
            raise ProgramsError("its loader jumps outside of itself")
        index = target
    raise ProgramsError("its loader does not end")


def _step(insn: Insn, registers: list[int], loading: Loading) -> int | None:
    """Runs an instruction. Returns the distance of a jump that is taken, otherwise None."""
    kind, code = insn.code & 7, insn.code
    if code == _LD_IMM64:
        registers[insn.dst] = _DATA + (insn.imm >> 32 & 0xFFFFFFFF) if insn.src == _IDX_VALUE else insn.imm & _MASK
    elif code == _CALL:
        registers[0] = loading.call(insn.imm, registers) & _MASK
    elif kind in (4, 7):
        _arithmetic(insn, registers, kind == 7)
    elif kind == 1:
        width = _WIDTHS[code & 0x18]
        registers[insn.dst] = int.from_bytes(loading.read(registers[insn.src] + insn.off & _MASK, width), "little")
    elif kind in (2, 3):
        width = _WIDTHS[code & 0x18]
        value = insn.imm & _MASK if kind == 2 else registers[insn.src]
        loading.write(registers[insn.dst] + insn.off & _MASK, (value & (1 << 8 * width) - 1).to_bytes(width, "little"))
    elif kind in (5, 6):
        return insn.off if _jumps(insn, registers, kind == 6) else None
    return None


def _arithmetic(insn: Insn, registers: list[int], wide: bool) -> None:
    mask = _MASK if wide else 0xFFFFFFFF
    left, right = registers[insn.dst] & mask, (registers[insn.src] if insn.code & 8 else insn.imm) & mask
    operation = insn.code & 0xF0
    bits = 63 if wide else 31
    found = {
        0x00: left + right,
        0x10: left - right,
        0x20: left * right,
        0x40: left | right,
        0x50: left & right,
        0x60: left << (right & bits),
        0x70: left >> (right & bits),
        0xA0: left ^ right,
        0xB0: right,
        0xC0: _signed(left, bits) >> (right & bits),
    }.get(operation)
    if found is None:
        raise ProgramsError("its loader does arithmetic that no loader does")
    registers[insn.dst] = found & mask


def _signed(value: int, bits: int) -> int:
    return value - (2 << bits) if value >> bits & 1 else value


def _jumps(insn: Insn, registers: list[int], narrow: bool) -> bool:
    mask, bits = (0xFFFFFFFF, 31) if narrow else (_MASK, 63)
    left, right = registers[insn.dst] & mask, (registers[insn.src] if insn.code & 8 else insn.imm) & mask
    signed = _signed(left, bits), _signed(right, bits)
    return {
        0x00: True,
        0x10: left == right,
        0x20: left > right,
        0x30: left >= right,
        0x40: bool(left & right),
        0x50: left != right,
        0x60: signed[0] > signed[1],
        0x70: signed[0] >= signed[1],
        0xA0: left < right,
        0xB0: left <= right,
        0xC0: signed[0] < signed[1],
        0xD0: signed[0] <= signed[1],
    }.get(insn.code & 0xF0, False)


def words(data: bytes, offset: int, layout: str) -> tuple[int, ...]:
    """Returns the numbers at an offset. Numbers past the end are 0, because older loaders leave later
    attributes out.
    """
    size = struct.calcsize(layout)
    return struct.unpack(layout, data[offset : offset + size].ljust(size, b"\0"))
