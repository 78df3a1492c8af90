"""The policy of observations: compares what a probe saw with the prediction. The observations come from `probes`.

- If a probe reproduces the defect, the verdict is affected, whatever was predicted.
- If a conclusive probe (every control passed, every path ran) does not reproduce the defect, the prediction is
  overruled. The verdict is fixed when the introducing commits are known to be present and no code evidence says that
  the fix is missing; otherwise it is not-affected ("not reproduced"): the defect never came in, or something else
  prevents it.
- An absence that is not conclusive (the defect could not be reached here) confirms not-affected and changes nothing
  else.
- If the architecture was seen to lack a capability without which the defect cannot be reached, the verdict is
  not-affected, by that capability, whatever was predicted. It is never fixed: nothing was seen of a fix.
"""

from __future__ import annotations

from collections.abc import Mapping

from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.model import (
    Agreement,
    Confidence,
    Disagreement,
    EvidenceKind,
    Observation,
    ObservationState,
    Presence,
    Rule,
    State,
    TargetReport,
    Verdict,
)
from tailcall_audit.probes.probe import Result

__all__ = ["observe", "observe_all"]

_CODE = (EvidenceKind.EMULATION, EvidenceKind.SOURCE, EvidenceKind.CODE, EvidenceKind.BTF)


def observe(verdict: Verdict, result: Result, where: str) -> Verdict:
    """Returns the verdict after an observation; `where` is "on this host" or "in a guest booted from FILE"."""
    seen = ObservationState(result.state)
    predicted = verdict.state
    if seen is ObservationState.ABSENT and result.lacks:
        return _without_capability(verdict, result, where)
    agreement = _agreement(predicted, seen, result.conclusive)
    observation = Observation(seen, result.detail, agreement, predicted, where)
    settled = agreement in (Agreement.CONTRADICTED, Agreement.SETTLED)
    if not settled:
        return verdict._replace(observation=observation)
    reason = f"seen {where}: {result.detail}"
    disagreements = verdict.disagreements
    if agreement is Agreement.CONTRADICTED:
        disagreements = (
            *disagreements,
            Disagreement("", f"predicted {predicted.value} ({verdict.reason}), and seen {seen.value}: {result.detail}"),
        )
    if seen is ObservationState.PRESENT:
        state, rule, brief = State.AFFECTED, Rule.SEEN_PRESENT, "seen present"
    elif (predicted is State.AFFECTED or verdict.rule is Rule.FIX_UNKNOWN) and not _fix_is_missing(verdict):
        state, rule, brief = State.FIXED, Rule.SEEN_ABSENT, "seen absent"
    else:
        state, rule, brief = State.NOT_AFFECTED, Rule.SEEN_ABSENT, "not reproduced"
    confidence = Confidence.HIGH if seen is ObservationState.PRESENT else Confidence.MEDIUM
    return verdict._replace(
        state=state,
        rule=rule,
        confidence=confidence,
        brief=f"{brief}; predicted {predicted.value}" if agreement is Agreement.CONTRADICTED else brief,
        reason=reason,
        settle=None,
        disagreements=disagreements,
        observation=observation,
    )


def _without_capability(verdict: Verdict, result: Result, where: str) -> Verdict:
    """Returns the verdict on a defect that cannot be reached because the architecture was seen to lack a capability."""
    predicted = verdict.state
    agreement = {State.AFFECTED: Agreement.CONTRADICTED, State.UNKNOWN: Agreement.SETTLED}.get(
        predicted, Agreement.CONFIRMED
    )
    observation = Observation(ObservationState.ABSENT, result.detail, agreement, predicted, where)
    if predicted is State.NOT_AFFECTED:
        return verdict._replace(observation=observation)
    disagreements = verdict.disagreements
    if agreement is Agreement.CONTRADICTED:
        text = f"predicted {predicted.value} ({verdict.reason}), and seen to be out of reach: {result.detail}"
        disagreements = (*disagreements, Disagreement("", text))
    return verdict._replace(
        state=State.NOT_AFFECTED,
        rule=Rule.CAPABILITY_ABSENT,
        confidence=Confidence.MEDIUM,
        brief=f"no {result.lacks}",
        reason=f"seen {where}: {result.detail}",
        settle=None,
        disagreements=disagreements,
        observation=observation,
    )


def _fix_is_missing(verdict: Verdict) -> bool:
    """Returns True if code evidence says that a fix is missing: then something else kept the probe from showing the
    defect.
    """
    fixes = set(leaves(verdict.defect.fixed))
    return any(
        item.kind in _CODE and item.presence is Presence.ABSENT and item.commit in fixes for item in verdict.evidence
    )


def _agreement(predicted: State, seen: ObservationState, conclusive: bool) -> Agreement:
    if seen is ObservationState.COULD_NOT_RUN:
        return Agreement.NOT_OBSERVED
    if seen is ObservationState.PRESENT:
        if predicted is State.UNKNOWN:
            return Agreement.SETTLED
        return Agreement.CONFIRMED if predicted is State.AFFECTED else Agreement.CONTRADICTED
    if not conclusive:
        return Agreement.CONFIRMED if predicted is State.NOT_AFFECTED else Agreement.NOT_OBSERVED
    if predicted in (State.FIXED, State.NOT_AFFECTED):
        return Agreement.CONFIRMED
    return Agreement.SETTLED if predicted is State.UNKNOWN else Agreement.CONTRADICTED


def observe_all(target: TargetReport, results: Mapping[str, Result], where: str) -> TargetReport:
    """Returns a target's report with all observations; defects without a probe keep their verdict."""
    verdicts = tuple(
        observe(item, results[item.defect.slug], where)
        # A probe sees nothing of another architecture's code.
        if item.defect.slug in results and item.rule is not Rule.OTHER_ARCHITECTURE
        else item
        for item in target.verdicts
    )
    return target._replace(verdicts=verdicts)
