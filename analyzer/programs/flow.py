"""Control flow within one function: its basic blocks, and which of them the verifier certainly reaches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["Block", "Graph", "graph_of", "indexes_by_slot", "opcodes_of", "slots_of", "surely_reached"]

_LD_IMM64 = 0x18
_JUMPS = _, _JMP32 = 5, 6
_JA, _CALL, _EXIT = 0x00, 0x80, 0x90
_INDIRECT_JUMP = 0x0D
"""``gotox``: a jump to an address from a map of addresses (BPF_MAP_TYPE_INSN_ARRAY)."""
_MAX_WORK = 2_000_000
_WIDTHS = bytes(2 if code == _LD_IMM64 else 1 for code in range(256))
"""The number of slots that an instruction takes, by its opcode."""
_ANY_JUMP = re.compile(
    b"[%s]" % re.escape(bytes(code for code in range(256) if code & 7 in _JUMPS and code & 0xF0 != _CALL))
)
"""Matches the opcode of a jump or an exit."""


class Block(NamedTuple):
    """A basic block: the instructions from `start` up to, but not including, `end`. `after` are the blocks that may
    follow: first the target of a conditional jump, then the next block.
    """

    start: int
    end: int
    after: tuple[int, ...]


class Graph(NamedTuple):
    """The basic blocks of a function, in order. `indirect` is True if a jump goes to an unknown address."""

    blocks: tuple[Block, ...]
    indirect: bool


def opcodes_of(instructions: Iterable[Insn]) -> bytes:
    """Returns the opcode of each instruction, a byte each. Searching these takes a small part of the time that looking
    at each instruction takes.
    """
    return bytes(map(itemgetter(0), instructions))


def slots_of(instructions: Sequence[Insn]) -> list[int]:
    """Returns the slot in which each instruction starts, as jumps count: a load of 64 bits takes two."""
    return list(accumulate(opcodes_of(instructions).translate(_WIDTHS), initial=0))[:-1]


def indexes_by_slot(slots: Sequence[int]) -> dict[int, int]:
    """Returns the index of the instruction that starts in each slot."""
    return dict(zip(slots, range(len(slots)), strict=True))


def graph_of(instructions: tuple[Insn, ...]) -> Graph:
    """Returns the basic blocks of a function. A jump out of the function has no target, because the verifier refuses
    it.
    """
    codes = opcodes_of(instructions)
    slots: Sequence[int] = range(len(codes))
    by_slot: Mapping[int, int] | None = None
    if _LD_IMM64 in codes:
        slots = slots_of(instructions)
        by_slot = indexes_by_slot(slots)
    leaders = {0}
    jumps: dict[int, tuple[int | None, bool]] = {}
    indirect = False
    for index in [match.start() for match in _ANY_JUMP.finditer(codes)]:
        code = codes[index]
        operation = code & 0xF0
        if operation == _EXIT or code == _INDIRECT_JUMP:
            indirect = indirect or code == _INDIRECT_JUMP
            jumps[index] = (None, False)
        else:
            insn = instructions[index]
            place = slots[index] + 1 + (insn.imm if operation == _JA and code & 7 == _JMP32 else insn.off)
            target = by_slot.get(place) if by_slot is not None else place if 0 <= place < len(codes) else None
            jumps[index] = (target, operation != _JA)
            if target is not None:
                leaders.add(target)
        leaders.add(index + 1)
    starts = sorted(leader for leader in leaders if leader < len(instructions))
    number = {start: index for index, start in enumerate(starts)}
    blocks = []
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else len(instructions)
        target, falls = jumps.get(end - 1, (None, True))
        after = [] if target is None else [number[target]]
        if falls and end < len(instructions):
            after.append(number[end])
        blocks.append(Block(start, end, tuple(after)))
    return Graph(tuple(blocks), indirect)


def surely_reached(graph: Graph, undecided: frozenset[int], wanted: Iterable[int]) -> frozenset[int]:
    """Returns the wanted blocks that some path reaches whichever way the undecided jumps go.

    `undecided` are the blocks that end in a jump on a value that is constant at load time. Every other jump may go
    either way. A block counts as reached through an undecided jump only if both ways lead to it.
    """
    blocks = graph.blocks
    targets = set(wanted)
    if not undecided:
        return frozenset(targets)
    before: dict[int, list[int]] = {}
    for index, block in enumerate(blocks):
        for follower in block.after:
            before.setdefault(follower, []).append(index)
    left = _MAX_WORK
    found = set()
    for target in targets:
        # Walk backwards from the block and collect the blocks that lead to it whatever is decided. The entry block must
        # be among them.
        leading = {target}
        todo = [target]
        while todo and left > 0:
            for index in before.get(todo.pop(), ()):
                left -= 1
                if index in leading:
                    continue
                if index in undecided and not leading.issuperset(blocks[index].after):
                    continue
                leading.add(index)
                todo.append(index)
        if 0 in leading:
            found.add(target)
    return frozenset(found)
