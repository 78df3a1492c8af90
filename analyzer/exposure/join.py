"""Joins the exposure of programs with the audit of kernels: hits, refusals, and which program can run on which
kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.exposure.types import Exposed, Exposure, Refusal, State
from tailcall_audit.analyzer.model import Evidence, Presence, Report, Rule, TargetReport, Verdict
from tailcall_audit.analyzer.model import State as KernelState
from tailcall_audit.analyzer.policy.weigh import weigh

__all__ = ["Cell", "Row", "has_hit", "has_possible_hit", "hit_of", "join", "matrix"]


class Cell(IntEnum):
    """What a kernel means for a program: the worst result of all defects. The order is from good to bad."""

    GOOD = 0
    POSSIBLE = 1
    REFUSED = 2
    HIT = 3

    @property
    def label(self) -> str:
        """The word that tables show."""
        return self.name.lower()


class Row(NamedTuple):
    """A program, and what each kernel means for it. The kernels are in the order of the report's targets."""

    object: str
    program: str
    cells: tuple[Cell, ...]


def hit_of(kernel: KernelState, programs: State) -> bool | None:
    """Returns True if the kernel has the defect and the programs meet it, False if either is ruled out, and None
    otherwise.
    """
    if programs is State.NOT_MET or kernel in (KernelState.FIXED, KernelState.NOT_AFFECTED):
        return False
    return True if kernel is KernelState.AFFECTED and programs is State.MET else None


class _Presences:
    """Answers which commits a kernel has, by all evidence of its verdicts."""

    def __init__(self, target: TargetReport) -> None:
        self._found = {key for verdict in target.verdicts for key in verdict.fixed_by}
        self._evidence: dict[str, dict[Evidence, None]] = {}
        for verdict in target.verdicts:
            for item in verdict.evidence:
                self._evidence.setdefault(item.commit, {})[item] = None

    def of(self, commit: str) -> Presence:
        """Returns the presence of a commit."""
        if commit in self._found:
            return Presence.PRESENT
        items = tuple(self._evidence.get(commit, ()))
        return weigh(items).presence if items else Presence.UNKNOWN


def _refused(
    exposure: Exposure, verdict: Verdict, presences: _Presences, catalog: Catalog
) -> tuple[tuple[State, ...], Refusal | None]:
    """Returns how sure it is that this kernel refuses each program because of a fix of the verdict's defect, and the
    surest refusal.
    """
    states = [State.NOT_MET] * len(exposure.programs)
    surest, least = None, State.NOT_MET
    if verdict.rule is Rule.OTHER_ARCHITECTURE:
        return tuple(states), None
    for refusal in exposure.refusals:
        present = presences.of(refusal.commit)
        if present is Presence.UNKNOWN and verdict.state in (KernelState.AFFECTED, KernelState.NOT_AFFECTED):
            continue  # the fix is absent, or the kernel is not affected and the fix was not looked for
        change = next(item for item in catalog.commits[refusal.commit].changes if item.what == refusal.what)
        taken_back = Presence.ABSENT if change.until is None else presences.of(change.until)
        if present is Presence.ABSENT or taken_back is Presence.PRESENT:
            continue
        sure = State.MET if present is Presence.PRESENT and taken_back is Presence.ABSENT else State.POSSIBLE
        for index, state in enumerate(refusal.programs):
            states[index] = max(states[index], min(sure, state))
        if min(sure, refusal.finding.state) > least:
            surest, least = refusal, min(sure, refusal.finding.state)
    return tuple(states), surest


def _exposed(exposure: Exposure, verdict: Verdict, presences: _Presences, catalog: Catalog) -> Exposed:
    refused, refusal = _refused(exposure, verdict, presences, catalog)
    hits = tuple(hit_of(verdict.state, item.state) for item in exposure.programs)
    return Exposed(exposure, hit_of(verdict.state, exposure.state), max(refused), hits, refused, refusal)


def join(report: Report, exposures: Iterable[Exposure]) -> Report:
    """Returns the report, with `Verdict.exposed` set to what the programs mean for each verdict."""
    found = {item.defect: item for item in exposures}
    return report._replace(targets=tuple(_joined(target, found, report.catalog) for target in report.targets))


def _joined(target: TargetReport, found: Mapping[str, Exposure], catalog: Catalog) -> TargetReport:
    presences = _Presences(target)
    verdicts = tuple(
        item._replace(exposed=_exposed(found[item.defect.slug], item, presences, catalog))
        if item.defect.slug in found
        else item
        for item in target.verdicts
    )
    return target._replace(verdicts=verdicts)


def _all_exposed(report: Report) -> list[Exposed]:
    return [item.exposed for target in report.targets for item in target.verdicts if item.exposed is not None]


def has_hit(report: Report) -> bool:
    """Returns True if a kernel has a defect that the programs meet, or refuses one of them."""
    return any(item.hit is True or item.refused is State.MET for item in _all_exposed(report))


def has_possible_hit(report: Report) -> bool:
    """Returns True if a kernel may have a defect that the programs may meet, or may refuse one of them."""
    return any(item.hit is None or item.refused is State.POSSIBLE for item in _all_exposed(report))


def _cell(exposed: Exposed, index: int) -> Cell:
    if exposed.hits[index] is True:
        return Cell.HIT
    if exposed.refusals[index] is State.MET:
        return Cell.REFUSED
    if exposed.hits[index] is None or exposed.refusals[index] is State.POSSIBLE:
        return Cell.POSSIBLE
    return Cell.GOOD


def matrix(report: Report, exposures: Sequence[Exposure]) -> tuple[Row, ...]:
    """Returns one row for each program: what each kernel of a joined report means for it."""
    if not exposures:
        return ()
    rows = []
    for index, program in enumerate(exposures[0].programs):
        cells = tuple(
            max(
                (_cell(item.exposed, index) for item in target.verdicts if item.exposed is not None),
                default=Cell.GOOD,
            )
            for target in report.targets
        )
        rows.append(Row(program.object, program.program, cells))
    return tuple(rows)
