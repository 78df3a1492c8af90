"""A decoded instruction of any architecture, and the error that no instruction can be decoded."""

from __future__ import annotations

from typing import NamedTuple

from tailcall_audit.analyzer.errors import AuditError

__all__ = ["Insn", "NoDisassemblerError"]


class NoDisassemblerError(AuditError):
    """The disassembler is not installed, or does not load."""


class Insn(NamedTuple):
    """A decoded instruction, in the words of the disassembler, and its address."""

    mnemonic: str
    operands: str
    address: int = 0

    @property
    def parts(self) -> list[str]:
        """The first operand and the rest; one empty string if there are no operands."""
        return [part.strip() for part in self.operands.split(",", 1)]
