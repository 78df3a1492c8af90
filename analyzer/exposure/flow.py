"""Finds which instructions of a function can run after which, by its jumps. Conditions of jumps are not evaluated."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.programs.types import Function, Program
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["FP", "Flow", "is_call", "reads", "writes"]

_LD, _LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = range(8)
_LD_IMM64, _EXIT, _CALL = 0x18, 0x95, 0x85
_JA, _TAIL = 0x00, 0xF0
_REGISTER = 0x08
_MOV, _NEG, _SWAP = 0xB0, 0x80, 0xD0
_ATOMIC = 0xC0
FP = 10
"""The frame pointer's register."""
_ARGUMENTS = frozenset(range(1, 6))
_CALLER_SAVED = frozenset(range(6))


def is_call(insn: Insn) -> bool:
    """Returns True for a call of a helper, a kfunc or a subprogram."""
    return insn.code == _CALL


def reads(insn: Insn) -> frozenset[int]:
    """Returns the registers that an instruction reads (Linux Documentation/bpf/standardization/instruction-set.rst)."""
    kind = insn.code & 7
    if insn.code == _CALL:
        return _ARGUMENTS
    if insn.code == _EXIT:
        return frozenset((0,))
    if kind == _LDX:
        return frozenset((insn.src,))
    if kind == _ST:
        return frozenset((insn.dst,))
    if kind == _STX:
        return frozenset((insn.dst, insn.src))
    if kind in (_ALU, _ALU64):
        operation = insn.code & 0xF0
        second = {insn.src} if insn.code & _REGISTER and operation not in (_NEG, _SWAP) else set()
        return frozenset(second if operation == _MOV else second | {insn.dst})
    if kind in (_JMP, _JMP32) and insn.code & 0xF0 not in (_JA, _TAIL):
        return frozenset({insn.dst, insn.src} if insn.code & _REGISTER else {insn.dst})
    if kind == _LD and insn.code != _LD_IMM64:
        return frozenset((6, insn.src))
    return frozenset()


def writes(insn: Insn) -> frozenset[int]:
    """Returns the registers that an instruction overwrites."""
    kind = insn.code & 7
    if insn.code == _CALL or (kind == _LD and insn.code != _LD_IMM64):
        return _CALLER_SAVED
    if insn.code == _LD_IMM64 or kind in (_LDX, _ALU, _ALU64):
        return frozenset((insn.dst,))
    return frozenset()


class Flow:
    """The jumps of a program. Instructions are given as indexes into `Program.instructions`, where LD_IMM64 counts as
    one.
    """

    def __init__(self, program: Program) -> None:
        self._insns = program.instructions
        self._slots: list[int] = []
        slot = 0
        for insn in self._insns:
            self._slots.append(slot)
            slot += 2 if insn.code == _LD_IMM64 else 1
        self._at = {slot: index for index, slot in enumerate(self._slots)}

    def successors(self, index: int) -> Iterator[int]:
        """Yields the instructions that can run directly after an instruction. Jumps to a place without an instruction
        are left out.
        """
        insn = self._insns[index]
        kind, operation = insn.code & 7, insn.code & 0xF0
        if insn.code == _EXIT:
            return
        jumps = kind in (_JMP, _JMP32) and insn.code != _CALL and operation != _TAIL
        if not (jumps and operation == _JA) and index + 1 < len(self._insns):
            yield index + 1
        if jumps:
            distance = insn.imm if kind == _JMP32 and operation == _JA else insn.off
            target = self._at.get(self._slots[index] + 1 + distance)
            if target is not None:
                yield target

    def behind(self, index: int, function: Function) -> frozenset[int]:
        """Returns every instruction of a function that can run after the given one, which is included if it is in a
        loop.
        """
        return frozenset(self._walk(index, function, frozenset()))

    def used_behind(self, index: int, function: Function, register: int) -> Iterator[int]:
        """Yields the instructions that read the value that an instruction left in a register, before another one
        overwrites it.
        """
        for found in self._walk(index, function, frozenset((register,))):
            if register in reads(self._insns[found]):
                yield found

    def _walk(self, index: int, function: Function, until: frozenset[int]) -> Iterator[int]:
        """Yields the instructions that can run after an instruction. Each path ends at an instruction that overwrites a
        register of `until`.
        """
        seen: set[int] = set()
        open_ends = list(self.successors(index)) if 0 <= index < len(self._insns) else []
        while open_ends:
            found = open_ends.pop()
            if found in seen or not function.start <= found < function.end:
                continue
            seen.add(found)
            yield found
            if not until & writes(self._insns[found]):
                open_ends.extend(self.successors(found))
