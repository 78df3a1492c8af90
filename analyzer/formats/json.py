"""The report as JSON. Its frame is a contract: `report.schema.json`, described in docs/report.md.

In a report of few kernels, each verdict contains all that it rests on. In one of many kernels, what verdicts share is
written once, behind the targets: a verdict names its `detail` by number, and a detail its `evidence`. A report of a
thousand kernels has megabytes therefore, and each target is written as soon as it is judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tailcall_audit import __version__
from tailcall_audit.analyzer.basis import age_in_days
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.exposure.types import Exposed
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Evidence, Node, Observation, Report, State, TargetReport, Verdict, Waiver

__all__ = ["SCHEMA_VERSION", "Shared", "pieces", "render", "report_as_data", "report_schema_path", "whole_verdict"]

SCHEMA_VERSION = 3
_FEW = 20
"""Targets up to which each verdict has all that it rests on, and the report is indented."""

_TOGETHER = 100
"""Details, pieces of evidence or nodes on a line. To encode each alone takes twice as long."""


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


def _as_shown(item: Evidence) -> Evidence:
    """Returns the same for statements that differ only in what is not shown."""
    if item.settle is None and not (item.conditional or item.unreadable or item.guessed):
        return item
    return item._replace(settle=None, conditional=False, unreadable=False, guessed=False)


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


def _waiver(item: Waiver | None) -> dict[str, Any] | None:
    if item is None:
        return None
    found = item._asdict()
    del found["defect"]
    return found


def _changes(item: Verdict, catalog: Catalog) -> list[dict[str, str | None]]:
    """Returns what the fixes that a verdict rests on change for programs."""
    if item.state is not State.FIXED:
        return []
    return [
        {"commit": key, "what": change.what, "errno": change.errno, "words": change.words, "source": change.source}
        for key in item.fixed_by
        for change in catalog.commits[key].changes
    ]


def _exposed(item: Exposed | None) -> dict[str, Any]:
    """Returns what a verdict means for programs, where programs were given."""
    if item is None:
        return {}
    return {"exposure": item.exposure.state.label, "hit": item.hit, "refused": item.refused.refused}


def _defect(defect: Defect) -> dict[str, Any]:
    return {
        "pitfall": defect.pitfall,
        "title": defect.title,
        "severity": defect.severity,
        "consequence": defect.consequence,
        "cves": list(defect.cves),
    }


def _detail(item: Verdict, evidence: list[Any], catalog: Catalog) -> dict[str, Any]:
    return {
        "rule": item.rule.value,
        "brief": item.brief,
        "reason": item.reason,
        "settle": item.settle,
        "evidence": evidence,
        "disagreements": [str(entry) for entry in item.disagreements],
        "observation": _observation(item.observation),
        "changes_for_programs": _changes(item, catalog),
        "waiver": _waiver(item.waiver),
    }


def whole_verdict(item: Verdict, catalog: Catalog) -> dict[str, Any]:
    """Returns a verdict with all that it rests on in it."""
    return {
        "defect": item.defect.slug,
        **_defect(item.defect),
        "verdict": item.state.value,
        "confidence": item.confidence.label,
        "architectures": list(item.architectures),
        **_exposed(item.exposed),
        **_detail(item, [_evidence(_as_shown(entry)) for entry in item.evidence], catalog),
    }


class Shared:
    """What verdicts share: defects, details and evidence, each once and numbered in the order of the first use."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._numbers: dict[int, int] = {}
        self._verdicts: list[Verdict] = []  # kept, so that no other one gets the identity of one that was seen
        self._evidence: dict[Evidence, int] = {}
        self._places: dict[int, int] = {}
        """The number of each piece of evidence by its identity. The verdicts that are kept keep it."""

    def verdict(self, item: Verdict) -> dict[str, Any]:
        """Returns a verdict as data, with the number of its detail."""
        number = self._numbers.setdefault(id(item), len(self._verdicts))
        if number == len(self._verdicts):
            self._verdicts.append(item)
        return {
            "defect": item.defect.slug,
            "verdict": item.state.value,
            "confidence": item.confidence.label,
            "architectures": list(item.architectures),
            "detail": number,
            **_exposed(item.exposed),
        }

    def defects(self) -> dict[str, Any]:
        """Returns the defects that the verdicts so far are about."""
        return {
            slug: _defect(defect) for slug, defect in {item.defect.slug: item.defect for item in self._verdicts}.items()
        }

    def details(self) -> Iterator[dict[str, Any]]:
        """Yields the details of the verdicts so far."""
        return map(self._detail, self._verdicts)

    def evidence(self) -> Iterator[dict[str, Any]]:
        """Yields the evidence that the details so far name."""
        return map(_evidence, self._evidence)

    def _detail(self, item: Verdict) -> dict[str, Any]:
        return _detail(item, [self._number(entry) for entry in item.evidence], self._catalog)

    def _number(self, entry: Evidence) -> int:
        number = self._places.get(id(entry))
        if number is None:
            number = self._evidence.setdefault(_as_shown(entry), len(self._evidence))
            self._places[id(entry)] = number
        return number


def _target(target: TargetReport, verdict: Callable[[Verdict], dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": target.name,
        "kind": target.kind.value,
        "identity": dict(target.identity),
        "notes": list(target.notes),
        "verdicts": [verdict(item) for item in target.verdicts],
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
    nodes = {"nodes": [_node(node) for node in report.nodes]} if report.nodes else {}
    if len(report.targets) <= _FEW:
        targets = [_target(target, lambda item: whole_verdict(item, report.catalog)) for target in report.targets]
        return {**_before(report, tool_version), "targets": targets, **_after(report), **nodes}
    shared = Shared(report.catalog)
    targets = [_target(target, shared.verdict) for target in report.targets]
    common = {"defects": shared.defects(), "details": list(shared.details()), "evidence": list(shared.evidence())}
    return {**_before(report, tool_version), "targets": targets, **_after(report), **common, **nodes}


_compact = json.JSONEncoder(separators=(",", ":")).encode


def _array(name: str, items: Iterable[object], together: int = 1) -> Iterator[str]:
    """Yields an array with so many items a line."""
    yield f',\n"{name}":['
    separator, left = "\n", iter(items)
    while line := list(islice(left, together)):
        yield separator + _compact(line)[1:-1]
        separator = ",\n"
    yield "\n]"


def pieces(report: Report, _: View) -> Iterator[str]:
    """Yields the report as JSON text, a target at a time; everything beyond ASCII is escaped, so no terminal acts on it.

    A report of a few kernels is indented; one of many has a line for each target.
    """
    if len(report.targets) <= _FEW:
        yield json.dumps(report_as_data(report._replace(nodes=()), __version__), indent=2)[:-2]
        yield from _array("nodes", map(_node, report.nodes), _TOGETHER) if report.nodes else ()
        yield "\n}\n"
        return
    shared = Shared(report.catalog)
    yield _compact(_before(report, __version__))[:-1]
    yield from _array("targets", (_target(target, shared.verdict) for target in report.targets))
    yield ",\n" + _compact({**_after(report), "defects": shared.defects()})[1:-1]
    yield from _array("details", shared.details(), _TOGETHER)
    yield from _array("evidence", shared.evidence(), _TOGETHER)
    if report.nodes:
        yield from _array("nodes", map(_node, report.nodes), _TOGETHER)
    yield "}\n"


def render(report: Report, view: View) -> str:
    """Returns the report as JSON text."""
    return "".join(pieces(report, view))
