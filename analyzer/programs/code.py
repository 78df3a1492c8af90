"""What the readers hand to the analysis: functions with their instructions, and what these refer to.

A reader knows where a map, function or constant comes from (a relocation, or the kernel's rewritten instruction). The
analysis (`facts.py`) asks no more where an instruction was read.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.programs.types import SourceLine
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["Code", "ProgramsError", "Reference", "Refers"]


class ProgramsError(ValueError):
    """Input from which no BPF programs can be read; the message is the reason, without the name of the input."""


class Refers(Enum):
    """What an instruction refers to."""

    MAP = "map"
    """The map itself: what a helper takes."""
    VALUE = "value"
    """The value of a map of one entry: global data. `offset` is in bytes."""
    FUNCTION = "function"
    """A function that is called; `target` is its index."""
    ADDRESS = "address"
    """A function whose address is taken, for a helper that calls it; `target` is its index."""
    KFUNC = "kfunc"
    """A kernel function that is called."""
    HELPER = "helper"
    """A helper that is called; `target` is its number, where the instruction does not have it."""
    UNKNOWN = "unknown"
    """A number that is put in at load time: a kconfig extern, a kernel symbol, a CO-RE relocation."""


class Reference(NamedTuple):
    """What an instruction refers to: a name, and what `kind` says beside it.

    `frozen` is True of global data that the verifier reads as constants (.rodata, .kconfig).
    """

    kind: Refers
    name: str
    target: int = 0
    offset: int = 0
    frozen: bool = False


class Code(NamedTuple):
    """One function. `references`, `lines` and `constant` are by the index in `instructions`.

    `constant` are the instructions whose immediate or offset is put in at load time (CO-RE). `is_global` is None where
    no BTF says it.
    """

    name: str
    instructions: tuple[Insn, ...]
    references: dict[int, Reference]
    is_global: bool | None
    lines: dict[int, SourceLine]
    constant: frozenset[int] = frozenset()
