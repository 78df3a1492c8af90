"""A decoded instruction of any architecture."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Insn"]


class Insn(NamedTuple):
    """A decoded instruction, as a disassembler writes it, and its address."""

    mnemonic: str
    operands: str
    address: int = 0

    @property
    def parts(self) -> list[str]:
        """The first operand, and the rest; one empty string where there is none."""
        return [part.strip() for part in self.operands.split(",", 1)]
