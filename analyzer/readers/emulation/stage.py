"""Runs a case in every state of the code that is patched at boot, and says what came out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from analyzer.emulator.machine import Patch, Stub
from analyzer.emulator.reasons import EmulationError, Why
from analyzer.readers.emulation.scene import Bench, Scene

__all__ = ["Answer", "Case", "Finding", "Outcome", "Stage", "run_case"]


class Outcome(Enum):
    """What a function did in a case."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NULL_DEREFERENCE = "null-dereference"
    BUSY = "busy"
    STOPS = "stops"
    LOOPS = "loops"
    DONE = "done"
    NOT_DONE = "not-done"


class Finding(NamedTuple):
    """An outcome, and what was called with what and what came out, in words."""

    outcome: Outcome
    story: str


class Answer(NamedTuple):
    """The finding of a case, or why there is none."""

    case: str
    finding: Finding | None
    why: EmulationError | None = None
    sites: int = 0
    """Places on its path that were run in both states."""


class Stage:
    """Where a case runs: makes its machines, in one state of the code, and remembers which code they ran."""

    def __init__(self, bench: Bench, patches: Iterable[Patch] = ()) -> None:
        self.bench = bench
        self.patches = tuple(patches)
        self.scenes: list[Scene] = []

    def scene(self, stubs: Mapping[str, Stub] | None = None) -> Scene:
        """A fresh machine."""
        found = Scene(self.bench, self.patches, stubs)
        self.scenes.append(found)
        return found

    def executed(self) -> list[tuple[int, int]]:
        """Start and size of all blocks of code that were run, each once, in order."""
        return sorted({block for scene in self.scenes for block in scene.machine.executed})


Case = Callable[[Stage], Finding]


def control(holds: bool, what: str) -> None:
    """Raise EmulationError where a control does not do what it does on every kernel."""
    if not holds:
        raise EmulationError(Why.CONTROL, what)


_MOST_SITES = 24
"""Sites on the path of one case; more would take seconds, and none that was seen has half as many."""


def run_case(bench: Bench, name: str, case: Case) -> Answer:
    """Run a case with the code as it is in the image, then with each site on its path in its other state; answers that differ are none."""
    try:
        stage = Stage(bench)
        finding = case(stage)
        seen: set[int] = set()
        waiting = _new_sites(bench, stage, seen)
        while waiting:
            patch = waiting.pop()
            other = Stage(bench, (patch,))
            _compare(finding, patch, case, other)
            waiting += _new_sites(bench, other, seen)
    except EmulationError as error:
        return Answer(name, None, error)
    return Answer(name, finding, sites=len(seen))


def _new_sites(bench: Bench, stage: Stage, seen: set[int]) -> list[Patch]:
    found = []
    for patch in bench.sites.on_path(stage.executed()):
        if patch.address not in seen:
            seen.add(patch.address)
            found.append(patch)
    if len(seen) > _MOST_SITES:
        raise EmulationError(Why.UNPATCHABLE, f"more than {_MOST_SITES} places on the path are patched at boot")
    return found


def _compare(finding: Finding, patch: Patch, case: Case, stage: Stage) -> None:
    try:
        other = case(stage)
    except EmulationError as error:
        raise EmulationError(Why.STATES_DIFFER, f"with the {patch.why} in its other state: {error}") from error
    if other.outcome is not finding.outcome:
        states = f"{finding.outcome.value}, with the {patch.why} in its other state {other.outcome.value}"
        raise EmulationError(Why.STATES_DIFFER, states)
