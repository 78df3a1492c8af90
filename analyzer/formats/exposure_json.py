"""Renders an exposure report as JSON. The format is stable: `exposure.schema.json` defines it, docs/exposure.md
describes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tailcall_audit import __version__
from tailcall_audit.analyzer.exposure.report import ExposureReport
from tailcall_audit.analyzer.exposure.types import Exposure, Refusal
from tailcall_audit.analyzer.formats.json import report_as_data
from tailcall_audit.analyzer.programs.types import Function, Program, ProgramSet

__all__ = ["exposure_as_data", "exposure_as_json", "exposure_schema_path"]

SCHEMA_VERSION = 1
_OF_THE_AUDIT = ("targets", "first_fixed", "defects", "details", "evidence")


def exposure_schema_path() -> Path:
    """Returns the path of the JSON Schema for exposure reports."""
    return Path(__file__).with_name("exposure.schema.json")


def _function(item: Function) -> dict[str, Any]:
    return {
        "name": item.name,
        "stack": item.stack,
        "calls": [{"instruction": site.instruction, "function": site.callee} for site in item.calls],
        "tail_calls": [
            {"instruction": call.instruction, "map": call.map, "index": call.key} for call in item.tail_calls
        ],
    }


def _program(owner: ProgramSet, item: Program) -> dict[str, Any]:
    functions = [_function(function) for function in item.functions]
    return {"object": owner.label, "name": item.key, "type": item.type, "functions": functions}


def _refusal(item: Refusal) -> dict[str, Any]:
    return {
        "commit": item.commit,
        "refused": item.finding.state.refused,
        "what": item.what,
        "errno": item.errno,
        "words": item.words,
        "reason": item.finding.reason,
        "where": [place._asdict() for place in item.finding.where],
    }


def _exposure(item: Exposure) -> dict[str, Any]:
    return {
        "defect": item.defect,
        "state": item.state.label,
        "reason": item.finding.reason,
        "where": [place._asdict() for place in item.finding.where],
        "chain": list(item.finding.chain),
        "settle": item.finding.settle,
        "refused_by_fix": item.refused.refused,
        "refusals": [_refusal(entry) for entry in item.refusals],
        "programs": [
            {
                "object": entry.object,
                "program": entry.program,
                "state": entry.state.label,
                "refused": entry.refused.refused,
            }
            for entry in item.programs
        ],
    }


def exposure_as_data(found: ExposureReport, tool_version: str) -> dict[str, Any]:
    """Returns the exposure report as plain data. The kernels are as in an audit's report, with `exposure` and `hit`
    added to each verdict.
    """
    catalog, audited = found.catalog, found.report
    data: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "tool_version": tool_version,
        "catalog": {"date": catalog.date, "digest": catalog.digest, "path": catalog.path},
        "closed": found.closed,
        "programs": [_program(owner, item) for owner in found.sets for item in owner.programs],
        "notes": [{"object": owner.label, "note": note} for owner in found.sets for note in owner.notes],
        "exposure": [_exposure(item) for item in found.exposures],
        "targets": [],
        "skipped": [{"label": item.label, "reason": item.reason} for item in found.skipped],
        "oldest_without_hit": [
            {
                "branch": item.branch,
                "release": item.without_hit,
                "without_possible_hit": item.without_possible,
                "open": list(item.open),
                "unknown": list(item.unknown),
            }
            for item in found.oldest
        ],
    }
    if audited is not None:
        report = report_as_data(audited, tool_version)
        data |= {key: report[key] for key in _OF_THE_AUDIT if key in report}
        data["skipped"] += report["skipped"]
        names = [target.name for target in audited.targets]
        data["matrix"] = [
            {
                "object": row.object,
                "program": row.program,
                "kernels": {name: cell.label for name, cell in zip(names, row.cells, strict=True)},
            }
            for row in found.rows
        ]
    return data


def exposure_as_json(found: ExposureReport) -> str:
    """Returns the exposure report as JSON text. Characters outside of ASCII are escaped, so that a terminal cannot
    interpret them.
    """
    return json.dumps(exposure_as_data(found, __version__), indent=2) + "\n"
