"""The data that readers pass to the analysis: functions with their instructions, and what the instructions refer to.

Each reader resolves maps, functions and constants in its own way (by relocations, or by the instructions that the
kernel rewrote). The analysis (`facts.py`) does not depend on the reader.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.programs.types import SourceLine
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["Code", "ProgramsError", "Reference", "Refers"]


class ProgramsError(ValueError):
    """Raised if BPF programs cannot be read from an input. The message is the reason, without the name of the input."""


class Refers(Enum):
    """The kinds of things that an instruction can refer to."""

    MAP = "map"
    """The map itself, which is passed to a helper."""
    VALUE = "value"
    """The value of a map with one entry: global data. `offset` is in bytes."""
    FUNCTION = "function"
    """A function that is called. `target` is its index."""
    ADDRESS = "address"
    """A function whose address is passed to a helper, which calls it. `target` is its index."""
    KFUNC = "kfunc"
    """A kernel function that is called."""
    HELPER = "helper"
    """A helper that is called. `target` is its number, for instructions that do not contain it."""
    UNKNOWN = "unknown"
    """A number that is filled in at load time: a kconfig extern, a kernel symbol or a CO-RE relocation."""


class Reference(NamedTuple):
    """What an instruction refers to. The meaning of the fields depends on `kind`.

    `frozen` is True for global data that the verifier reads as constants (.rodata, .kconfig).
    """

    kind: Refers
    name: str
    target: int = 0
    offset: int = 0
    frozen: bool = False


class Code(NamedTuple):
    """One function. `references`, `lines` and `constant` are by the index in `instructions`.

    `constant` has the instructions whose immediate or offset is filled in at load time (CO-RE). `is_global` is None if
    there is no BTF to decide it.
    """

    name: str
    instructions: tuple[Insn, ...]
    references: dict[int, Reference]
    is_global: bool | None
    lines: dict[int, SourceLine]
    constant: frozenset[int] = frozenset()
