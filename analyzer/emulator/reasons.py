"""The reasons why a run of a kernel function gives no answer."""

from __future__ import annotations

from enum import Enum

__all__ = ["EmulationError", "Why"]


class Why(Enum):
    """The kinds of reasons. Each value is the text that a report shows."""

    NO_EMULATOR = "the emulator is not installed"
    NO_MACHINE = "no machine for this architecture"
    NO_BTF = "no type data to lay out objects by"
    NO_SYMBOLS = "no symbol table"
    NO_FUNCTION = "the function is not there under its name: inlined, renamed or configured away"
    SEVERAL_FUNCTIONS = "several functions of this name"
    NO_MEMBER = "a structure has no such member"
    UNEXPECTED_FAULT = "a fault that nothing explains"
    TRAP = "the code traps"
    INSTRUCTIONS = "the budget of instructions is used up"
    TIME = "the budget of time is used up"
    MEMORY = "the budget of memory is used up"
    CONTROL = "a control does not behave as every kernel must"
    STATES_DIFFER = "the answer depends on code that is patched at boot"
    UNPATCHABLE = "code on the path is patched at boot in a way that cannot be followed"
    CRASHED = "the emulator's process ended without an answer"


class EmulationError(Exception):
    """Raised if a run gives no answer: `why`, and `detail` with the function, structure or address."""

    def __init__(self, why: Why, detail: str) -> None:
        super().__init__(f"{why.value}: {detail}")
        self.why = why
        self.detail = detail
