"""The flow of control in a decoded function: the instructions that can follow one, and those that can be reached if
some steps are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn

__all__ = ["Branches", "Flow"]

_ADDRESS = re.compile(r"#?(0x[0-9a-f]+)")
"""The operand of a jump whose target is known, as capstone writes it."""


class Branches(NamedTuple):
    """The instructions of an architecture that change the flow of control, by their mnemonics.

    `conditional` are the starts of the mnemonics of conditional jumps; `unconditional` ones may have such a start too.
    Nothing follows those in `ends`. `when_equal` and `when_different` jump if a compare found its operands equal or
    different. `keeps_flags` do not change the result of a compare; a mnemonic with a start in `reads_flags` uses it.
    """

    unconditional: frozenset[str]
    conditional: tuple[str, ...]
    ends: frozenset[str]
    when_equal: str
    when_different: str
    keeps_flags: frozenset[str]
    reads_flags: tuple[str, ...]


class Flow:
    """The steps between a function's instructions, each named by its index. A jump out of the function ends it: a
    return by a thunk, a tail call, or code that the compiler moved away, which is not followed.
    """

    def __init__(self, insns: Sequence[Insn], branches: Branches) -> None:
        self.insns = insns
        self._branches = branches
        self._at = {insn.address: index for index, insn in enumerate(insns)}

    def target(self, index: int) -> int | None:
        """Returns the instruction that a jump leads to; None if it is outside of the function, or computed."""
        address = _ADDRESS.fullmatch(self.insns[index].operands)
        return None if address is None else self._at.get(int(address.group(1), 16))

    def is_conditional(self, index: int) -> bool:
        """Returns True if an instruction is a conditional jump."""
        mnemonic = self.insns[index].mnemonic
        return mnemonic.startswith(self._branches.conditional) and mnemonic not in self._branches.unconditional

    def _jumps(self, insn: Insn) -> bool:
        return insn.mnemonic in self._branches.unconditional or insn.mnemonic.startswith(self._branches.conditional)

    def steps(self, index: int) -> tuple[int, ...]:
        """Returns the instructions that can come next: the following one, and a jump's target."""
        insn = self.insns[index]
        if insn.mnemonic in self._branches.ends:
            return ()
        behind = (index + 1,) if index + 1 < len(self.insns) else ()
        if not self._jumps(insn):
            return behind
        target = self.target(index)
        there = () if target is None else (target,)
        return there if insn.mnemonic in self._branches.unconditional else (*behind, *there)

    @property
    def is_whole(self) -> bool:
        """Returns True if every jump has a known target: no address is computed."""
        return all(_ADDRESS.fullmatch(insn.operands) is not None for insn in self.insns if self._jumps(insn))

    def reached(
        self, start: int = 0, without: Collection[int] = (), without_steps: Collection[tuple[int, int]] = ()
    ) -> frozenset[int]:
        """Returns the instructions that can be reached from one, without passing through some, and without taking some
        steps.
        """
        seen: set[int] = set()
        waiting = [start]
        while waiting:
            index = waiting.pop()
            if index in seen or index in without:
                continue
            seen.add(index)
            waiting += [step for step in self.steps(index) if (index, step) not in without_steps]
        return frozenset(seen)

    def decided_by(self, compare: int) -> int | None:
        """Returns the instruction that uses a compare's result: a jump, a conditional move or the like; None if none
        does.
        """
        for index in range(compare + 1, len(self.insns)):
            mnemonic = self.insns[index].mnemonic
            if mnemonic.startswith(self._branches.reads_flags) and mnemonic not in self._branches.unconditional:
                return index
            if mnemonic not in self._branches.keeps_flags:
                return None
        return None

    def when_equal(self, compare: int) -> tuple[int, int] | None:
        """Returns the step that is taken if a compare finds its operands equal; None if no such jump uses the result."""
        return self._step(compare, self._branches.when_equal, self._branches.when_different)

    def when_different(self, compare: int) -> tuple[int, int] | None:
        """Returns the step that is taken if a compare finds its operands different; None if no such jump uses the
        result.
        """
        return self._step(compare, self._branches.when_different, self._branches.when_equal)

    def _step(self, compare: int, jumping: str, falling: str) -> tuple[int, int] | None:
        jump = self.decided_by(compare)
        if jump is None:
            return None
        if self.insns[jump].mnemonic == jumping:
            target = self.target(jump)
            return None if target is None else (jump, target)
        return (jump, jump + 1) if self.insns[jump].mnemonic == falling else None
