"""The tail calls between programs as a graph: which programs lead to which, and the shortest way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tailcall_audit.analyzer.exposure.code import Spot
from tailcall_audit.analyzer.exposure.member import Member
from tailcall_audit.analyzer.exposure.types import Place, State

__all__ = ["Paths", "Step", "Way"]


class Step(NamedTuple):
    """A tail call from one program to another. `state` is met if the slot surely holds the target."""

    source: Member
    spot: Spot
    key: int | None
    target: Member
    state: State

    def __str__(self) -> str:
        call = self.spot.call
        key = "…" if self.key is None else str(self.key)
        return f"{self.source.name}: {self.spot.function.name}() tail-calls {call.map or 'a prog array'}[{key}], which is {self.target.name}"

    @property
    def place(self) -> Place:
        """The place of the tail call."""
        return self.source.place(self.spot.function, self.spot.call.instruction)


@dataclass(frozen=True)
class Way:
    """A path of tail calls from one program to another. `why` says what is not known of a possible path."""

    state: State
    steps: tuple[Step, ...] = ()
    why: str = ""
    settle: str | None = None

    @cached_property
    def chain(self) -> tuple[str, ...]:
        """The steps in words."""
        return tuple(map(str, self.steps))

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The places of the tail calls."""
        return tuple(step.place for step in self.steps)


_Tree = dict[Member, tuple[Member | None, Step]]
"""For each program that a search reached, the program before it (None: it is the first one) and the tail call."""


class Paths:
    """The tail calls between programs. One search from a program answers for all programs that it reaches.

    Each method takes the state that every step must have at least.
    """

    def __init__(self, steps: Mapping[Member, tuple[Step, ...]]) -> None:
        self._steps = steps
        self._edges: dict[tuple[Member, State], dict[Member, Step]] = {}
        self._trees: dict[tuple[Member, State], _Tree] = {}

    def _edges_of(self, member: Member, least: State) -> dict[Member, Step]:
        """Returns the first step from a program to each of its targets."""
        key = (member, least)
        if key not in self._edges:
            found: dict[Member, Step] = {}
            for step in self._steps[member]:
                if step.state >= least:
                    found.setdefault(step.target, step)
            self._edges[key] = found
        return self._edges[key]

    def _first(self, source: Member, within: frozenset[str], least: State) -> dict[Member, Step]:
        """Returns the first step to each target, of those in some functions."""
        found: dict[Member, Step] = {}
        for step in self._steps[source]:
            if step.state >= least and step.spot.function.name in within:
                found.setdefault(step.target, step)
        return found

    def _search(self, first: dict[Member, Step], least: State, until: Member | None) -> _Tree:
        """Searches breadth first, so that the way to each program is a shortest one."""
        found: _Tree = {target: (None, step) for target, step in first.items()}
        open_ends = list(found)
        for member in open_ends:
            if until in found:
                break
            for target, step in self._edges_of(member, least).items():
                if target not in found:
                    found[target] = (member, step)
                    open_ends.append(target)
        return found

    def _tree(self, source: Member, least: State) -> _Tree:
        key = (source, least)
        if key not in self._trees:
            self._trees[key] = self._search(self._edges_of(source, least), least, None)
        return self._trees[key]

    def reached(self, source: Member, least: State) -> Mapping[Member, object]:
        """Returns the programs that a program leads to, the nearest first; itself only by a loop."""
        return self._tree(source, least)

    def shortest(
        self, source: Member, target: Member, least: State, within: frozenset[str] | None = None
    ) -> tuple[Step, ...]:
        """Returns the steps of a shortest way, none if there is no way.

        `within` names the functions of `source` whose tail calls may start it (None: all).
        """
        tree = self._tree(source, least)
        if within is not None and target in tree:
            tree = self._search(self._first(source, within, least), least, target)
        steps: list[Step] = []
        at: Member | None = target if target in tree else None
        while at is not None:
            at, step = tree[at]
            steps.append(step)
        return tuple(reversed(steps))
