"""Finds which instructions of a function can run after which, by its jumps. Conditions of jumps are not evaluated."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from tailcall_audit.analyzer.programs.flow import graph_of
from tailcall_audit.analyzer.programs.types import Function, Program
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["FP", "Flow", "reads", "writes"]

_LD, _LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = range(8)
_LD_IMM64, _EXIT, _CALL = 0x18, 0x95, 0x85
_JA, _TAIL = 0x00, 0xF0
_REGISTER = 0x08
_MOV, _NEG, _SWAP = 0xB0, 0x80, 0xD0
FP = 10
"""The frame pointer's register."""
_ARGUMENTS = frozenset(range(1, 6))
_CALLER_SAVED = frozenset(range(6))


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


class _OfFunction:
    """The jumps of one function. Instructions are given as indexes into its own instructions."""

    def __init__(self, instructions: tuple[Insn, ...]) -> None:
        self._insns = instructions
        graph = graph_of(instructions)
        everywhere = tuple(range(len(graph.blocks)))
        self._ends = [block.end for block in graph.blocks]
        self._starts = [block.start for block in graph.blocks]
        # Where an indirect jump leads is not known: it may lead to every block.
        self._followers = [everywhere if graph.indirect else block.after for block in graph.blocks]
        self._behind: dict[int, frozenset[int]] = {}
        self._used: dict[tuple[int, int], tuple[tuple[int, ...], bool]] = {}

    def _block_of(self, index: int) -> int:
        return bisect_right(self._starts, index) - 1

    def follows(self, first: int, second: int) -> bool:
        """Returns True if the second instruction can run after the first one, or after itself if they are one."""
        block, other = self._block_of(first), self._block_of(second)
        if block == other and second > first:
            return True
        if block not in self._behind:
            self._behind[block] = frozenset(self._walk(block))
        return other in self._behind[block]

    def _walk(self, block: int) -> set[int]:
        """Returns the blocks that can run after the end of a block."""
        seen: set[int] = set()
        open_ends = list(self._followers[block])
        while open_ends:
            found = open_ends.pop()
            if found not in seen:
                seen.add(found)
                open_ends.extend(self._followers[found])
        return seen

    def _uses(self, start: int, end: int, register: int) -> tuple[tuple[int, ...], bool]:
        """Returns the instructions of a range that read a register before one overwrites it, and True if one does."""
        found = []
        for index in range(start, end):
            insn = self._insns[index]
            if register in reads(insn):
                found.append(index)
            if register in writes(insn):
                return tuple(found), True
        return tuple(found), False

    def used_behind(self, index: int, register: int) -> Iterator[int]:
        """Yields the instructions that read a register which an instruction left, before another one overwrites it."""
        block = self._block_of(index)
        found, ended = self._uses(index + 1, self._ends[block], register)
        yield from found
        open_ends = [] if ended else list(self._followers[block])
        seen: set[int] = set()
        while open_ends:
            block = open_ends.pop()
            if block in seen:
                continue
            seen.add(block)
            key = (block, register)
            if key not in self._used:
                self._used[key] = self._uses(self._starts[block], self._ends[block], register)
            found, ended = self._used[key]
            yield from found
            open_ends += () if ended else self._followers[block]


class Flow:
    """The jumps of a program. Instructions are given as indexes into `Program.instructions`, where LD_IMM64 counts as
    one. A function is looked at when it is asked for.
    """

    def __init__(self, program: Program) -> None:
        self._insns = program.instructions
        self._functions: dict[int, _OfFunction] = {}

    def _of(self, function: Function) -> _OfFunction:
        if function.start not in self._functions:
            self._functions[function.start] = _OfFunction(self._insns[function.start : function.end])
        return self._functions[function.start]

    def follows(self, first: int, second: int, function: Function) -> bool:
        """Returns True if an instruction of a function can run after another one of it. An instruction can run after
        itself if it is in a loop.
        """
        return self._of(function).follows(first - function.start, second - function.start)

    def used_behind(self, index: int, function: Function, register: int) -> tuple[int, ...]:
        """Returns the instructions that read the value that an instruction left in a register, before another one
        overwrites it, in order.
        """
        found = set(self._of(function).used_behind(index - function.start, register))
        return tuple(function.start + item for item in sorted(found))
