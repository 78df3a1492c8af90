"""The inputs of a call of a kernel function, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tailcall_audit.analyzer.emulator.machine import Machine

__all__ = ["Budget", "Call", "End", "Patch", "Run", "Stub"]


class Budget(NamedTuple):
    """The most that one call may use: instructions, seconds of processor time, and bytes of its machine's memory."""

    instructions: int = 2_000_000
    seconds: float = 3.0
    memory: int = 96 << 20


class End(Enum):
    """How a call ended."""

    RETURNED = "returned"
    FAULT = "fault"
    TRAP = "trap"
    STOPPED = "stopped"
    """Stopped by a stub or a watch that had seen enough."""


class Run(NamedTuple):
    """The end of a call: the result (RETURNED), the address that was touched and the kind of access (FAULT), the
    program counter and its function.
    """

    end: End
    value: int = 0
    touched: int = 0
    access: str = ""
    pc: int = 0
    function: str | None = None
    reason: str = ""

    def describe(self) -> str:
        """Returns a description of what happened."""
        where = f"{self.function or 'code'} at {self.pc:#x}"
        if self.end is End.RETURNED:
            return f"returns {self.value:#x}"
        if self.end is End.FAULT:
            return f"{self.access} address {self.touched:#x} ({where})"
        return f"traps ({where})" if self.end is End.TRAP else f"is stopped: {self.reason}"


class Patch(NamedTuple):
    """Replacement bytes for a place in the kernel's code. `why` names what patches it."""

    address: int
    code: bytes
    why: str


class Call(NamedTuple):
    """A call that a stub answers."""

    machine: Machine
    name: str

    def argument(self, number: int) -> int:
        """Returns an argument, counted from 0, as 64 bits."""
        return self.machine.register(self.machine.isa.arguments[number])


Stub = Callable[[Call], int | None]
"""Answers a call: returns the call's result, or None to leave the result register unchanged."""
