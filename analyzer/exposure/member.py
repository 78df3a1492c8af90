"""One program of the sets that are looked at together, with what its own code shows."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property

from tailcall_audit.analyzer.exposure.code import Code, Spot
from tailcall_audit.analyzer.exposure.types import Place
from tailcall_audit.analyzer.programs.types import Function, Map, Program, ProgramSet, SourceLine

__all__ = ["EXTENSION", "TRACING", "Member"]

TRACING, EXTENSION = "tracing", "ext"
"""Program types by the kernel's names (enum bpf_prog_type)."""
_TRACERS = frozenset(("trace_fentry", "trace_fexit", "modify_return", "trace_fsession"))
"""Attach types whose programs run in a trampoline (enum bpf_attach_type)."""


class Member:
    """A program of one of the sets. Members are compared by identity."""

    def __init__(self, owner: ProgramSet, program: Program, name: str) -> None:
        self.owner = owner
        self.program = program
        self.name = name
        self.code = Code(program)
        self._places: dict[tuple[str | None, int | None], Place] = {}

    def place(self, function: Function | None = None, instruction: int | None = None) -> Place:
        """Returns the place of a function or an instruction in this program."""
        name = None if function is None else function.name
        key = (name, instruction)
        if key not in self._places:
            line = None if instruction is None else self._line_of(instruction)
            written = None if line is None else f"{line.file}:{line.line}"
            self._places[key] = Place(self.owner.label, self.program.key, name, instruction, written)
        return self._places[key]

    @cached_property
    def tail_calls(self) -> tuple[tuple[Spot, Place], ...]:
        """Every tail call that may be reached, with its place."""
        return tuple((spot, self.place(spot.function, spot.call.instruction)) for spot in self.code.spots())

    @cached_property
    def _lines(self) -> list[int]:
        return sorted(self.program.lines)

    def _line_of(self, instruction: int) -> SourceLine | None:
        before = bisect_right(self._lines, instruction)
        return self.program.lines[self._lines[before - 1]] if before else None

    @property
    def is_read(self) -> bool:
        """True if the program's instructions are known."""
        return bool(self.program.functions)

    @cached_property
    def _maps(self) -> dict[str, Map]:
        return {item.name: item for item in reversed(self.owner.maps)}

    def map(self, name: str | None) -> Map | None:
        """Returns the map with a name."""
        return None if name is None else self._maps.get(name)

    @cached_property
    def storages(self) -> frozenset[tuple[int, str]]:
        """The cgroup storages of the program. Equal names in different sets are different storages."""
        return frozenset((id(self.owner), name) for name in self.program.cgroup_storage)

    @property
    def is_tracer(self) -> bool:
        """Returns True if the program runs in a function's trampoline, or may because its attach type is unknown."""
        kind, attach = self.program.type, self.program.expected_attach_type
        return kind == TRACING and (attach is None or attach in _TRACERS)
