"""The answer of the emulator alone about a defect, beside the verdict that weighs everything."""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.expression import Interval, evaluate
from tailcall_audit.analyzer.model import EvidenceKind, ObservationState, Presence, Verdict

__all__ = ["emulated"]

_VALUES = {Presence.PRESENT: Interval(2, 2), Presence.ABSENT: Interval(0, 0)}


def emulated(verdict: Verdict) -> ObservationState:
    """Returns the emulator's own answer: the defect is present, absent (all cases of its fix are healthy), or could not
    be run.
    """
    seen = {item.commit: item.presence for item in verdict.evidence if item.kind is EvidenceKind.EMULATION}
    if verdict.defect.fixed is None:
        return ObservationState.COULD_NOT_RUN
    fix = evaluate(verdict.defect.fixed, lambda name: _VALUES.get(seen.get(name, Presence.UNKNOWN), Interval(0, 2, 0)))
    if fix.met:
        return ObservationState.ABSENT
    return ObservationState.PRESENT if fix.excluded else ObservationState.COULD_NOT_RUN
