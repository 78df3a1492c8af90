"""Runs a case in every state of the code that is patched at boot, and gives one answer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar, cast

from tailcall_audit.analyzer.emulator.calls import Patch, Stub
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.scene import Bench, Scene

__all__ = ["Answer", "Case", "Finding", "Outcome", "Stage", "run_case"]

_Result = TypeVar("_Result")


class Outcome(Enum):
    """The outcome of a function in a case."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NULL_DEREFERENCE = "null-dereference"
    BUSY = "busy"
    STOPS = "stops"
    LOOPS = "loops"
    MISCOUNTS = "miscounts"
    DONE = "done"
    NOT_DONE = "not-done"
    BUG = "bug"


class Finding(NamedTuple):
    """An outcome, and the call and its result in words."""

    outcome: Outcome
    story: str


class Answer(NamedTuple):
    """The finding of a case, or why there is none."""

    case: str
    finding: Finding | None
    why: EmulationError | None = None
    sites: int = 0
    """The number of places on its path that were run in both states."""


class Stage:
    """Where a case runs: makes its machines, in one state of the code, and remembers which code they ran."""

    def __init__(self, bench: Bench, patches: Iterable[Patch] = ()) -> None:
        self.bench = bench
        self.patches = tuple(patches)
        self._scenes: list[Scene] = []
        self._shared: set[tuple[int, int]] = set()

    def scene(self, stubs: Mapping[str, Stub] | None = None) -> Scene:
        """Returns a fresh machine."""
        found = Scene(self.bench, self.patches, stubs)
        self._scenes.append(found)
        return found

    def executed(self) -> list[tuple[int, int]]:
        """Returns start and size of all blocks of code that were run, each once, in order. Ends the stage's machines."""
        for scene in self._scenes:
            self._shared.update(scene.machine.executed)
            scene.machine.close()
        self._scenes.clear()
        return sorted(self._shared)

    def once(self, name: Hashable, step: Callable[[Stage], _Result]) -> _Result:
        """Returns the result of a step. It is run once for all cases of a bench if the code on its path is the same:
        controls are shared, whatever is patched elsewhere.
        """
        kept = self.bench.kept.setdefault(name, [])
        for there, found, blocks in kept:
            if _within(self.patches, blocks) == there:
                self._shared.update(blocks)
                return cast("_Result", found)
        inner = Stage(self.bench, self.patches)
        result = step(inner)
        blocks = inner.executed()
        kept.append((_within(self.patches, blocks), result, blocks))
        self._shared.update(blocks)
        return result


def _within(patches: Iterable[Patch], blocks: Sequence[tuple[int, int]]) -> frozenset[Patch]:
    """Returns the patches that change code of some blocks (in rising order); one may begin in the middle of another."""
    longest = max((size for _, size in blocks), default=0)
    found = set()
    for patch in patches:
        end = patch.address + len(patch.code)
        near = blocks[bisect_left(blocks, (patch.address - longest,)) : bisect_left(blocks, (end,))]
        if any(start + size > patch.address for start, size in near):
            found.add(patch)
    return frozenset(found)


Case = Callable[[Stage], Finding]


def control(holds: bool, what: str) -> None:
    """Raises EmulationError if a control does not do what it does on every kernel."""
    if not holds:
        raise EmulationError(Why.CONTROL, what)


_MOST_SITES = 24
"""The most sites on the path of one case: more would take seconds. At most half as many were seen."""


def run_case(bench: Bench, name: str, case: Case) -> Answer:
    """Returns the answer of a case. It is run with the code as it is in the image, then with each site on its path in
    its other states. If results differ, there is no answer.

    All sites are changed together first. If that gives another result, which may be a state that no kernel is ever in,
    each site is changed alone.
    """
    stage = Stage(bench)
    try:
        finding = case(stage)
        sites = _Sites(bench)
        sites.add(stage)
        done = 0
        while done < sites.rounds():
            other = Stage(bench, sites.round(done))
            different = _agrees(finding, case, other)
            done = 0 if sites.add(other) else done + 1
            if different is not None:
                _try_alone(bench, case, finding, sites.all())
                break
    except EmulationError as error:
        stage.executed()
        return Answer(name, None, error)
    return Answer(name, finding, sites=len(sites.all()))


class _Sites:
    """The sites on the path of a case, with their other states: an alternative may have several."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._states: dict[int, list[Patch]] = {}

    def add(self, stage: Stage) -> bool:
        """Adds the blocks and sites that a stage ran through; returns True if any of them is new."""
        before = len(self._states)
        found: dict[int, list[Patch]] = {}
        for patch in self._bench.sites.on_path(stage.executed()):
            found.setdefault(patch.address, []).append(patch)
        self._states |= found
        if len(self._states) > _MOST_SITES:
            raise EmulationError(Why.UNPATCHABLE, f"more than {_MOST_SITES} places on the path are patched at boot")
        return len(self._states) > before

    def rounds(self) -> int:
        """Returns the largest number of other states that any site has."""
        return max(map(len, self._states.values()), default=0)

    def round(self, number: int) -> list[Patch]:
        """Returns each site in one of its states."""
        return [states[min(number, len(states) - 1)] for states in self._states.values()]

    def all(self) -> list[Patch]:
        """Returns every state of every site."""
        return [patch for states in self._states.values() for patch in states]


def _try_alone(bench: Bench, case: Case, finding: Finding, patches: list[Patch]) -> None:
    for patch in patches:
        different = _agrees(finding, case, Stage(bench, (patch,)))
        if different is not None:
            words = f"{finding.outcome.value}; with the {patch.why} in its other state {different}"
            raise EmulationError(Why.STATES_DIFFER, words)


def _agrees(finding: Finding, case: Case, stage: Stage) -> str | None:
    """Returns None if a case has the same result in another state of the code, else that result."""
    try:
        other = case(stage)
    except EmulationError as error:
        return str(error)
    finally:
        stage.executed()
    return None if other.outcome is finding.outcome else other.outcome.value
