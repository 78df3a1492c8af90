"""Where control goes in a decoded x86-64 function: what can follow an instruction, and what can be reached with some steps left out."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import Insn

__all__ = ["Flow"]

_ADDRESS = re.compile(r"0x[0-9a-f]+")
_ENDS = frozenset(("ret", "ud2", "int3", "hlt"))
_KEEPS_FLAGS = frozenset(("mov", "movzx", "movsx", "movsxd", "movabs", "lea", "push", "pop", "nop"))
_READS_FLAGS = ("set", "cmov", "sbb", "adc", "j")


class Flow:
    """The steps between a function's instructions, each named by its index. A jump out of the function ends it: a return by a thunk,
    a tail call, or code that the compiler moved away, which is not followed."""

    def __init__(self, insns: Sequence[Insn]) -> None:
        self.insns = insns
        self._at = {insn.address: index for index, insn in enumerate(insns)}

    def target(self, index: int) -> int | None:
        """The instruction that a jump leads to; None where that is outside of the function, or is computed."""
        operands = self.insns[index].operands
        return self._at.get(int(operands, 16)) if _ADDRESS.fullmatch(operands) else None

    def is_conditional(self, index: int) -> bool:
        """Whether an instruction is a conditional jump."""
        mnemonic = self.insns[index].mnemonic
        return mnemonic.startswith("j") and mnemonic != "jmp"

    def steps(self, index: int) -> tuple[int, ...]:
        """The instructions that can come next: the one behind, and a jump's target."""
        insn = self.insns[index]
        if insn.mnemonic in _ENDS:
            return ()
        behind = (index + 1,) if index + 1 < len(self.insns) else ()
        if not insn.mnemonic.startswith("j"):
            return behind
        target = self.target(index)
        there = () if target is None else (target,)
        return there if insn.mnemonic == "jmp" else (*behind, *there)

    @property
    def is_whole(self) -> bool:
        """Whether every jump inside the function is known: none goes to an address that is computed."""
        return all(
            _ADDRESS.fullmatch(insn.operands) is not None for insn in self.insns if insn.mnemonic.startswith("j")
        )

    def reached(
        self, start: int = 0, without: Collection[int] = (), without_steps: Collection[tuple[int, int]] = ()
    ) -> frozenset[int]:
        """All that can be reached from an instruction, without passing through some, and without taking some steps."""
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
        """The instruction that takes notice of a compare's result: a jump, a conditional move or the like; None where none does."""
        for index in range(compare + 1, len(self.insns)):
            mnemonic = self.insns[index].mnemonic
            if mnemonic.startswith(_READS_FLAGS) and mnemonic != "jmp":
                return index
            if mnemonic not in _KEEPS_FLAGS:
                return None
        return None

    def when_equal(self, compare: int) -> tuple[int, int] | None:
        """The step that is taken where a compare finds its operands equal; None where no `je` or `jne` takes notice of it."""
        return self._step(compare, "je", "jne")

    def when_different(self, compare: int) -> tuple[int, int] | None:
        """The step that is taken where a compare finds its operands different; None where no `je` or `jne` takes notice of it."""
        return self._step(compare, "jne", "je")

    def _step(self, compare: int, jumping: str, falling: str) -> tuple[int, int] | None:
        jump = self.decided_by(compare)
        if jump is None:
            return None
        if self.insns[jump].mnemonic == jumping:
            target = self.target(jump)
            return None if target is None else (jump, target)
        return (jump, jump + 1) if self.insns[jump].mnemonic == falling else None
