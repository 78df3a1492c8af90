"""Judges all defects of a target; a defect whose answer depends on an unknown architecture gets a verdict for each answer."""

from __future__ import annotations

from collections.abc import Sequence

from tailcall_audit.analyzer.architecture import ARCHITECTURES
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.model import State, Verdict
from tailcall_audit.analyzer.policy.facts import MEMORY, Facts
from tailcall_audit.analyzer.policy.verdict import judge

__all__ = ["judge_all"]

_FEW = 8
"""The number of targets up to which each is judged by itself."""


def _architectures_to_try(defect: Defect, facts: Facts, catalog: Catalog) -> tuple[str, ...]:
    """Returns the architectures on which the answer may differ, when the target does not have one."""
    if defect.architectures:
        return defect.architectures
    able = [set(catalog.capabilities[name].present_from) for name in defect.capabilities]
    return tuple(name for name in ARCHITECTURES if all(name in group for group in able)) if able else ()


def _merge(verdicts: Sequence[tuple[str, Verdict]]) -> tuple[Verdict, ...]:
    """Returns one verdict for each different answer, with the architectures that it holds for."""
    groups: dict[State, list[tuple[str, Verdict]]] = {}
    for architecture, verdict in verdicts:
        groups.setdefault(verdict.state, []).append((architecture, verdict))
    merged = []
    for members in groups.values():
        first = members[0][1]
        reasons: dict[str, list[str]] = {}
        for architecture, verdict in members:
            reasons.setdefault(verdict.reason, []).append(architecture)
        reason = (
            first.reason
            if len(reasons) == 1
            else "; ".join(f"{', '.join(names)}: {text}" for text, names in reasons.items())
        )
        confidence = min(verdict.confidence for _, verdict in members)
        evidence = tuple(dict.fromkeys(item for _, verdict in members for item in verdict.evidence))
        architectures = tuple(name for name, _ in members)
        merged.append(
            first._replace(confidence=confidence, reason=reason, evidence=evidence, architectures=architectures)
        )
    return tuple(merged)


def _judge_everywhere(catalog: Catalog, defect: Defect, facts: Facts) -> tuple[Verdict, ...]:
    """Judges one defect; if the architecture is not known, for each one on which the answer may differ."""
    if facts.architecture is not None:
        return (judge(defect, facts, facts.architecture),)
    candidates = _architectures_to_try(defect, facts, catalog)
    if not candidates:
        return (judge(defect, facts, None),)
    return _merge([(name, judge(defect, facts, name)) for name in candidates])


def judge_all(catalog: Catalog, facts: Facts, defects: Sequence[Defect]) -> tuple[Verdict, ...]:
    """Judges defects, in the order of the pitfalls. Without a known architecture, a defect has a verdict for each answer."""
    ordered = sorted(defects, key=lambda defect: defect.pitfall or 99)
    if facts.config is not None or facts.options:
        return tuple(item for defect in ordered for item in _judge_everywhere(catalog, defect, facts))
    facts.known = MEMORY.of(catalog)
    facts.known.targets += 1
    return tuple([item for defect in ordered for item in _remembered(catalog, defect, facts)])


def _remembered(catalog: Catalog, defect: Defect, facts: Facts) -> tuple[Verdict, ...]:
    """Returns the verdicts on a defect of a target of whose configuration nothing is known. Targets with the same
    evidence share them; if only its words differ, they share the decision.
    """
    else_decides = (facts.architecture, facts.live_patches, facts.newer_than)
    key = (defect.slug, *else_decides, facts.marks_for(defect))
    found = facts.known.verdicts.get(key)
    if found is None or found[0] is not defect:
        if facts.known.targets <= _FEW:
            found = facts.known.verdicts[key] = (defect, _judge_everywhere(catalog, defect, facts))
            return found[1]
        verdicts = facts.known.shapes.verdicts(
            defect,
            else_decides,
            {name: facts.shaped(name) for name in (*defect.commits, *defect.capabilities)},
            lambda evidence: _judge_everywhere(catalog, defect, facts.with_evidence(evidence)),
        )
        found = facts.known.verdicts[key] = (defect, verdicts)
    return found[1]
