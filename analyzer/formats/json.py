"""The report as JSON. Its frame is a contract: `report.schema.json`, described in docs/report.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tailcall_audit import __version__
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Evidence, Observation, Report, State, TargetReport, Verdict

__all__ = ["SCHEMA_VERSION", "render", "report_as_data", "report_schema_path"]

SCHEMA_VERSION = 2


def report_schema_path() -> Path:
    """Returns the JSON Schema of the report."""
    return Path(__file__).with_name("report.schema.json")


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


def _observation(item: Observation | None) -> dict[str, str] | None:
    if item is None:
        return None
    return {
        "state": item.state.value,
        "detail": item.detail,
        "agreement": item.agreement.value,
        "predicted": item.predicted.value,
        "where": item.where,
    }


def _changes(item: Verdict, catalog: Catalog) -> list[dict[str, str | None]]:
    """Returns what the fixes that a verdict rests on change for programs."""
    if item.state is not State.FIXED:
        return []
    return [
        {"commit": key, "what": change.what, "errno": change.errno, "words": change.words, "source": change.source}
        for key in item.fixed_by
        for change in catalog.commits[key].changes
    ]


def _verdict(item: Verdict, catalog: Catalog) -> dict[str, Any]:
    return {
        "defect": item.defect.slug,
        "pitfall": item.defect.pitfall,
        "title": item.defect.title,
        "severity": item.defect.severity,
        "consequence": item.defect.consequence,
        "cves": list(item.defect.cves),
        "verdict": item.state.value,
        "confidence": item.confidence.label,
        "rule": item.rule.value,
        "brief": item.brief,
        "reason": item.reason,
        "settle": item.settle,
        "architectures": list(item.architectures),
        "evidence": [_evidence(entry) for entry in item.evidence],
        "disagreements": [str(entry) for entry in item.disagreements],
        "observation": _observation(item.observation),
        "changes_for_programs": _changes(item, catalog),
    }


def _target(target: TargetReport, catalog: Catalog) -> dict[str, Any]:
    return {
        "name": target.name,
        "kind": target.kind.value,
        "identity": dict(target.identity),
        "notes": list(target.notes),
        "verdicts": [_verdict(item, catalog) for item in target.verdicts],
    }


def report_as_data(report: Report, tool_version: str) -> dict[str, Any]:
    """Returns the report as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool_version": tool_version,
        "catalog": {"date": report.catalog.date, "digest": report.catalog.digest, "path": report.catalog.path},
        "targets": [_target(target, report.catalog) for target in report.targets],
        "skipped": [{"label": item.label, "reason": item.reason} for item in report.skipped],
        "first_fixed": [item._asdict() for item in report.first_fixed],
    }


def render(report: Report, _: View) -> str:
    """Returns the report as JSON text; everything beyond ASCII is escaped, so no terminal acts on it."""
    return json.dumps(report_as_data(report, __version__), indent=2) + "\n"
