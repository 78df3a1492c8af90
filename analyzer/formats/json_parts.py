"""The parts of a report as plain data, as the JSON formats write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.model import Evidence, Observation, State, Verdict, Waiver

if TYPE_CHECKING:
    from tailcall_audit.analyzer.exposure.types import Exposed

__all__ = [
    "changes_as_data",
    "defect_as_data",
    "exposed_as_data",
    "observation_as_data",
    "waiver_as_data",
    "whole_verdict",
]


def _evidence(item: Evidence) -> dict[str, Any]:
    return {
        "kind": item.kind.value,
        "commit": item.commit or None,
        "presence": item.presence.value,
        "citation": item.citation,
        "detail": item.detail,
        "confidence": item.confidence.label,
        "architecture": item.architecture,
    }


def observation_as_data(item: Observation | None) -> dict[str, str] | None:
    """Returns what a probe saw."""
    if item is None:
        return None
    return {
        "state": item.state.value,
        "detail": item.detail,
        "agreement": item.agreement.value,
        "predicted": item.predicted.value,
        "where": item.where,
    }


def waiver_as_data(item: Waiver | None) -> dict[str, Any] | None:
    """Returns a waiver without the defect, which the verdict names."""
    if item is None:
        return None
    found = item._asdict()
    del found["defect"]
    return found


def changes_as_data(item: Verdict, catalog: Catalog) -> list[dict[str, str | None]]:
    """Returns what the fixes that a verdict rests on change for programs."""
    if item.state is not State.FIXED:
        return []
    return [
        {"commit": key, "what": change.what, "errno": change.errno, "words": change.words, "source": change.source}
        for key in item.fixed_by
        for change in catalog.commits[key].changes
    ]


def exposed_as_data(item: Exposed | None) -> dict[str, Any]:
    """Returns what a verdict means for programs, where programs were given."""
    if item is None:
        return {}
    return {"exposure": item.exposure.state.label, "hit": item.hit, "refused": item.refused.refused}


def defect_as_data(defect: Defect) -> dict[str, Any]:
    """Returns what describes a defect."""
    return {
        "pitfall": defect.pitfall,
        "title": defect.title,
        "severity": defect.severity,
        "consequence": defect.consequence,
        "cves": list(defect.cves),
    }


def whole_verdict(item: Verdict, catalog: Catalog) -> dict[str, Any]:
    """Returns a verdict with all that it rests on in it."""
    return {
        "defect": item.defect.slug,
        **defect_as_data(item.defect),
        "verdict": item.state.value,
        "confidence": item.confidence.label,
        "architectures": list(item.architectures),
        **exposed_as_data(item.exposed),
        "rule": item.rule.value,
        "brief": item.brief,
        "reason": item.reason,
        "settle": item.settle,
        "evidence": [_evidence(entry) for entry in item.evidence],
        "disagreements": [str(entry) for entry in item.disagreements],
        "observation": observation_as_data(item.observation),
        "changes_for_programs": changes_as_data(item, catalog),
        "waiver": waiver_as_data(item.waiver),
    }
