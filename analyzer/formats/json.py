"""The report as JSON. Its frame is a contract: `report.schema.json`, described in docs/report.md.

In a report of few kernels, each verdict contains all that it rests on. In one of many kernels, what verdicts share is
written once, behind the targets: a verdict names its `detail` by number, and a detail its `evidence`. A report of a
thousand kernels has megabytes therefore, and each target is written as soon as it is judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tailcall_audit import __version__
from tailcall_audit.analyzer.basis import age_in_days
from tailcall_audit.analyzer.formats.json_parts import whole_verdict
from tailcall_audit.analyzer.formats.json_text import Shared, compact
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Node, Report, TargetReport

__all__ = ["SCHEMA_VERSION", "pieces", "render", "report_as_data", "report_schema_path"]

SCHEMA_VERSION = 3
_FEW = 20
"""Targets up to which each verdict has all that it rests on, and the report is indented."""

_TOGETHER = 100
"""Details, pieces of evidence or nodes on a line. To write each alone takes longer."""


def report_schema_path() -> Path:
    """Returns the JSON Schema of the report."""
    return Path(__file__).with_name("report.schema.json")


def _about(target: TargetReport) -> dict[str, Any]:
    return {
        "name": target.name,
        "kind": target.kind.value,
        "identity": dict(target.identity),
        "notes": list(target.notes),
    }


def _age(report: Report, date: str) -> int:
    return age_in_days(date, report.today or date)


def _node(node: Node) -> dict[str, Any]:
    known = {"skipped": node.skipped} if node.kernel is None else {"kernel": node.kernel}
    return {"name": node.name, **known}


def _before(report: Report, tool_version: str) -> dict[str, Any]:
    catalog = report.catalog
    return {
        "schema_version": SCHEMA_VERSION,
        "tool_version": tool_version,
        "catalog": {
            "date": catalog.date,
            "age_days": _age(report, catalog.date),
            "digest": catalog.digest,
            "path": catalog.path,
        },
        "surveys": [
            {"name": item.name, "date": item.date, "age_days": _age(report, item.date)}
            for item in report.rests_on()
            if item.name
        ],
    }


def _after(report: Report) -> dict[str, Any]:
    return {
        "skipped": [{"label": item.label, "reason": item.reason} for item in report.skipped],
        "first_fixed": [item._asdict() for item in report.first_fixed],
    }


def report_as_data(report: Report, tool_version: str) -> dict[str, Any]:
    """Returns the report as plain data."""
    if len(report.targets) > _FEW:
        shared: dict[str, Any] = json.loads("".join(_of_many(report, tool_version)))
        return shared
    targets = [
        {**_about(target), "verdicts": [whole_verdict(item, report.catalog) for item in target.verdicts]}
        for target in report.targets
    ]
    nodes = {"nodes": [_node(node) for node in report.nodes]} if report.nodes else {}
    return {**_before(report, tool_version), "targets": targets, **_after(report), **nodes}


def _array(name: str, items: Iterable[str], together: int = 1) -> Iterator[str]:
    """Yields an array of encoded items with so many of them a line."""
    yield f',\n"{name}":['
    separator, left = "\n", iter(items)
    while line := list(islice(left, together)):
        yield separator + ",".join(line)
        separator = ",\n"
    yield "\n]"


def _nodes(report: Report) -> Iterator[str]:
    return _array("nodes", (compact(_node(node)) for node in report.nodes), _TOGETHER) if report.nodes else iter(())


def _of_many(report: Report, tool_version: str) -> Iterator[str]:
    """Yields a report of many kernels as JSON text, with a line for each target."""
    shared = Shared(report.catalog)
    yield compact(_before(report, tool_version))[:-1]
    targets = (
        f'{compact(_about(target))[:-1]},"verdicts":[{shared.verdicts(target.verdicts)}]}}' for target in report.targets
    )
    yield from _array("targets", targets)
    yield ",\n" + compact({**_after(report), "defects": shared.defects()})[1:-1]
    yield from _array("details", shared.details(), _TOGETHER)
    yield from _array("evidence", shared.evidence(), _TOGETHER)
    yield from _nodes(report)
    yield "}\n"


def pieces(report: Report, _: View) -> Iterator[str]:
    """Yields the report as JSON text, a target at a time. Everything beyond ASCII is escaped: no terminal acts on it.

    A report of a few kernels is indented; one of many has a line for each target.
    """
    if len(report.targets) > _FEW:
        yield from _of_many(report, __version__)
        return
    yield json.dumps(report_as_data(report._replace(nodes=()), __version__), indent=2)[:-2]
    yield from _nodes(report)
    yield "\n}\n"


def render(report: Report, view: View) -> str:
    """Returns the report as JSON text."""
    return "".join(pieces(report, view))
