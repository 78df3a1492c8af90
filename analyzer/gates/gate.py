"""The policy of gates: which verdicts make an audit fail. docs/gates.md has the truth table.

- A verdict whose confidence is below the minimum counts as unknown: a weak *affected* proves nothing, and a weak
  *fixed* or *not-affected* promises nothing.
- A waiver accepts a defect on a kernel: an affected or unknown verdict does not fail there. It changes no verdict.
- An expired waiver accepts nothing: the verdicts that it names fail even if their state is not in the list.
- A contradiction always fails: a probe showed that the evidence is wrong, and no waiver accepts that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.model import (
    Agreement,
    Confidence,
    Report,
    Rule,
    Skipped,
    State,
    TargetReport,
    Verdict,
    Waiver,
)

__all__ = ["ALL_FAIL", "Gate", "Outcome", "Tally", "decide", "gated", "gated_report", "let_through", "tally", "unused"]

_SETTLE = (
    "tailcall-audit --package FILE, --image FILE or --tree PATH   of this kernel: stronger evidence, more confidence"
)


class Outcome(Enum):
    """The outcome of an audit, the worst first."""

    CONTRADICTED = "contradicted"
    AFFECTED = "affected"
    UNKNOWN = "unknown"
    PASSED = "passed"


ALL_FAIL = frozenset((Outcome.CONTRADICTED, Outcome.AFFECTED, Outcome.UNKNOWN))
"""The outcomes that fail by default."""
_FAILING = (Outcome.CONTRADICTED, Outcome.AFFECTED, Outcome.UNKNOWN)
_OUTCOMES = {State.AFFECTED: Outcome.AFFECTED, State.UNKNOWN: Outcome.UNKNOWN}


class Gate(NamedTuple):
    """What makes an audit fail: the outcomes in `fail_on`, for verdicts that no waiver accepts. Verdicts below the
    `minimum` confidence count as unknown.
    """

    fail_on: frozenset[Outcome] = ALL_FAIL
    minimum: Confidence = Confidence.LOW
    waivers: tuple[Waiver, ...] = ()


class Tally(NamedTuple):
    """Counts of what an audit found: verdicts that no waiver names, inputs that could not be judged (`skipped`),
    verdicts that are `waived`, and those whose waiver has expired (`lapsed_…`).

    `used` are the waivers that name a verdict, `audited` the slugs of all defects that were looked for.
    """

    contradicted: int = 0
    affected: int = 0
    unknown: int = 0
    skipped: int = 0
    waived: int = 0
    lapsed_affected: int = 0
    lapsed_unknown: int = 0
    used: frozenset[Waiver] = frozenset()
    audited: frozenset[str] = frozenset()

    def count(self, outcome: Outcome) -> int:
        """Returns the number of verdicts with this outcome that no waiver names (contradictions: of all). Inputs that
        could not be judged count as unknown.
        """
        counts = {Outcome.CONTRADICTED: self.contradicted, Outcome.AFFECTED: self.affected}
        return self.unknown + self.skipped if outcome is Outcome.UNKNOWN else counts.get(outcome, 0)

    def lapsed(self, outcome: Outcome) -> int:
        """Returns the number of verdicts with this outcome whose waiver has expired."""
        return {Outcome.AFFECTED: self.lapsed_affected, Outcome.UNKNOWN: self.lapsed_unknown}.get(outcome, 0)

    def __add__(self, other: object) -> Tally:
        """Returns the sum of both."""
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(
            self.contradicted + other.contradicted,
            self.affected + other.affected,
            self.unknown + other.unknown,
            self.skipped + other.skipped,
            self.waived + other.waived,
            self.lapsed_affected + other.lapsed_affected,
            self.lapsed_unknown + other.lapsed_unknown,
            self.used | other.used,
            self.audited | other.audited,
        )


def _names_of(target: TargetReport) -> tuple[str, ...]:
    """Returns the names of the kernel, which a waiver's pattern is matched against."""
    identity = target.identity
    known = (target.label, *(identity.get(key) for key in ("release", "package", "upstream")))
    return tuple(dict.fromkeys(name for name in known if name))


def _waiver_for(slug: str, names: Iterable[str], waivers: Iterable[Waiver]) -> Waiver | None:
    """Returns the waiver that names a defect on a kernel with these names. A valid waiver is preferred to an expired
    one.
    """
    from fnmatch import fnmatchcase

    found = [item for item in waivers if item.defect == slug and any(fnmatchcase(name, item.kernel) for name in names)]
    return min(found, key=lambda item: item.expired, default=None)


def _weakened(verdict: Verdict, minimum: Confidence) -> Verdict:
    """Returns a verdict with too little confidence as *unknown*, with the reason."""
    level = f"{verdict.confidence.label} confidence"
    return verdict._replace(
        state=State.UNKNOWN,
        rule=Rule.LOW_CONFIDENCE,
        brief=f"{verdict.state.value} with {level} only",
        reason=f"{verdict.state.value} with {level}, and {minimum.label} is asked for: {verdict.reason}",
        settle=verdict.settle or _SETTLE,
        fixed_by=(),
    )


class _Seen:
    """Applies a gate to verdicts. Kernels that share one verdict object get one shared result, which a report writes
    once.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._known: dict[tuple[int, Waiver | None], tuple[Verdict, Verdict]] = {}

    def verdict(self, item: Verdict, names: Iterable[str]) -> Verdict:
        """Returns a verdict on a kernel with these names, with the gate applied."""
        weak = item.state is not State.UNKNOWN and item.confidence < self._gate.minimum
        waiver = None
        if weak or item.state in _OUTCOMES:
            waiver = _waiver_for(item.defect.slug, names, self._gate.waivers)
        if waiver is None and not weak:
            return item
        key = (id(item), waiver)
        if key not in self._known:  # the original is kept alive, so that no other verdict gets its id()
            made = _weakened(item, self._gate.minimum) if weak else item
            self._known[key] = (item, made._replace(waiver=waiver))
        return self._known[key][1]

    def target(self, target: TargetReport) -> TargetReport:
        """Returns a target's report with the gate applied to its verdicts."""
        names = _names_of(target)
        return target._replace(verdicts=tuple(self.verdict(item, names) for item in target.verdicts))


def gated(targets: Iterable[TargetReport], gate: Gate) -> Iterator[TargetReport]:
    """Yields the targets' reports with the gate applied: weak verdicts become unknown, and waivers are attached to the
    verdicts that they name.
    """
    if gate.minimum is Confidence.LOW and not gate.waivers:
        yield from targets
        return
    seen = _Seen(gate)
    yield from map(seen.target, targets)


def _is_contradicted(verdict: Verdict) -> bool:
    return verdict.observation is not None and verdict.observation.agreement is Agreement.CONTRADICTED


def tally(target: TargetReport | Skipped) -> Tally:
    """Counts the verdicts of one target to which `gated` was applied."""
    if isinstance(target, Skipped):
        return Tally(skipped=1)
    verdicts = target.verdicts
    # Most verdicts are without programs: to ask for the property takes much longer in a report of a thousand kernels.
    free = [item.state if item.exposed is None else item.counts_as for item in verdicts if item.waiver is None]
    waived = [item for item in verdicts if item.waiver is not None]
    lapsed = [item.counts_as for item in waived if item.waiver is not None and item.waiver.expired]
    return Tally(
        contradicted=sum([_is_contradicted(item) for item in verdicts if item.observation is not None]),
        affected=free.count(State.AFFECTED),
        unknown=free.count(State.UNKNOWN),
        waived=sum(item.waived for item in waived),
        lapsed_affected=lapsed.count(State.AFFECTED),
        lapsed_unknown=lapsed.count(State.UNKNOWN),
        used=frozenset(item.waiver for item in waived if item.waiver is not None),
        audited=frozenset([item.defect.slug for item in verdicts]),
    )


def gated_report(report: Report, gate: Gate) -> tuple[Report, Tally]:
    """Returns a report with the gate applied, and its counts."""
    targets = tuple(gated(report.targets, gate))
    total = sum((tally(target) for target in targets), Tally())
    total = sum((tally(item) for item in report.skipped), total)
    total += Tally(skipped=sum(node.skipped is not None for node in report.nodes))
    return report._replace(targets=targets), total


def _fails(outcome: Outcome, gate: Gate) -> bool:
    return outcome is Outcome.CONTRADICTED or outcome in gate.fail_on


def decide(found: Tally, gate: Gate) -> Outcome:
    """Returns the worst outcome that fails; PASSED if there is none."""
    for outcome in _FAILING:
        if found.lapsed(outcome) or (_fails(outcome, gate) and found.count(outcome)):
            return outcome
    return Outcome.PASSED


def let_through(found: Tally, gate: Gate) -> Mapping[Outcome, int]:
    """Returns the number of verdicts for each outcome that occurs and does not fail."""
    return {item: found.count(item) for item in _FAILING if not _fails(item, gate) and found.count(item)}


def unused(found: Tally, gate: Gate) -> tuple[Waiver, ...]:
    """Returns the waivers that match no verdict although their defect was looked for."""
    return tuple(item for item in gate.waivers if item not in found.used and item.defect in found.audited)
