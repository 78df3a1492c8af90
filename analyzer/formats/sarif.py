"""Renders a report as SARIF 2.1.0 (OASIS): one result for each defect that the kernel has or may have.

Unknown becomes a *note*. Fixed and not affected are left out, because servers show every result as an alert. A waiver
becomes a suppression. The fingerprint depends on the defect and the kernel only, so that an alert stays the same on
every host.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tailcall_audit import __version__
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.formats.kernel import Subject, fingerprint, severity_number, subjects, with_skipped_nodes
from tailcall_audit.analyzer.formats.lines import programs_words, skipped
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Agreement, Report, State, Verdict
from tailcall_audit.analyzer.text import printable

__all__ = ["render"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_FINGERPRINT = "defectInKernel/v1"
_SHOWN = (State.AFFECTED, State.UNKNOWN)
_MOST_NODES = 3
"""Names of nodes in a message. The logical location of a kernel has all of them."""


def _rule(defect: Defect) -> dict[str, Any]:
    text = printable(f"{defect.title}. {defect.consequence}")
    return {
        "id": defect.slug,
        "shortDescription": {"text": printable(defect.title)},
        "fullDescription": {"text": text},
        "help": {"text": printable(f"{defect.mechanism} `tailcall-audit explain {defect.slug}` has the whole story.")},
        "defaultConfiguration": {"level": _level(State.AFFECTED, defect)},
        "properties": {
            "tags": ["security", "kernel", "bpf", *defect.cves],
            "precision": "high",
            "security-severity": severity_number(defect.severity),
        },
    }


def _level(state: State, defect: Defect) -> str:
    """Returns the level of a state: what is not known, or not reached by the programs that were given, is a note."""
    if state is not State.AFFECTED:
        return "note"
    return "error" if defect.severity in ("high", "critical") else "warning"


def _message(subject: Subject, verdict: Verdict) -> str:
    where = f" on {', '.join(verdict.architectures)}" if verdict.architectures else ""
    words = f"{subject.kernel.name}{where}: {verdict.state.value}: {verdict.reason}"
    nodes = subject.nodes_line(_MOST_NODES)
    if nodes is not None:
        words = f"{words}; on {nodes}"
    words += programs_words(verdict)
    if verdict.observation is not None and verdict.observation.agreement is Agreement.CONTRADICTED:
        words += f"; a probe contradicts the prediction: {verdict.observation.detail}"
    if verdict.state is State.UNKNOWN and verdict.settle:
        words += f"; to settle it: {verdict.settle}"
    return printable(words)


def _suppressions(verdict: Verdict) -> dict[str, Any]:
    if verdict.waiver is None or not verdict.waived:
        return {}
    waiver = verdict.waiver
    words = printable(f"{waiver.reason} (until {waiver.until}, by {waiver.who}; {waiver.source})")
    return {"suppressions": [{"kind": "external", "status": "accepted", "justification": words}]}


def _programs(verdict: Verdict) -> dict[str, Any]:
    """Returns what a verdict means for programs, under the names of the JSON report; empty where none were given."""
    exposed = verdict.exposed
    if exposed is None:
        return {}
    return {"exposure": exposed.exposure.state.label, "hit": exposed.hit, "refused": exposed.refused.refused}


def _result(subject: Subject, verdict: Verdict, rules: Mapping[str, int], places: Mapping[str, int]) -> dict[str, Any]:
    kernel, target = subject.kernel, subject.target
    return {
        "ruleId": verdict.defect.slug,
        "ruleIndex": rules[verdict.defect.slug],
        "level": _level(verdict.counts_as, verdict.defect),
        "message": {"text": _message(subject, verdict)},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": quote(kernel.name, safe="")}},
                "logicalLocations": [{"index": places[kernel.name], "name": kernel.name, "kind": "module"}],
            }
        ],
        "partialFingerprints": {_FINGERPRINT: fingerprint(target, verdict)},
        **_suppressions(verdict),
        "properties": {
            "verdict": verdict.state.value,
            "confidence": verdict.confidence.label,
            "rule": verdict.rule.value,
            "architectures": list(verdict.architectures) or ([kernel.architecture] if kernel.architecture else []),
            **_programs(verdict),
        },
    }


def _place(subject: Subject) -> dict[str, Any]:
    """Returns the logical location of a kernel: it has the names of all nodes that run it, once for all results."""
    nodes = {"properties": {"nodes": [printable(name) for name in subject.nodes]}} if subject.nodes else {}
    return {"name": subject.kernel.name, "kind": "module", **nodes}


def _found(report: Report) -> Iterator[tuple[Subject, Verdict]]:
    for subject in subjects(report):
        for verdict in subject.target.verdicts:
            if verdict.state in _SHOWN or verdict.counts_as in _SHOWN:
                yield subject, verdict


def render(report: Report, view: View) -> str:
    """Returns the report as SARIF. Inputs that could not be judged become notifications, and the run is marked as
    unsuccessful.
    """
    report = with_skipped_nodes(report)
    found = list(_found(report))
    defects = {verdict.defect.slug: verdict.defect for _, verdict in found}
    rules = {slug: number for number, slug in enumerate(defects)}
    kernels = {subject.kernel.name: subject for subject, _ in found}
    places = {name: number for number, name in enumerate(kernels)}
    notices = [{"level": "error", "message": {"text": line}} for line in skipped(report)]
    run = {
        "tool": {
            "driver": {
                "name": "tailcall-audit",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(defect) for defect in defects.values()],
                "properties": {"catalogDate": report.catalog.date, "catalogDigest": report.catalog.digest},
            }
        },
        "invocations": [
            {
                "executionSuccessful": not notices,
                "endTimeUtc": datetime.fromtimestamp(view.made, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "toolExecutionNotifications": notices,
            }
        ],
        "logicalLocations": [_place(subject) for subject in kernels.values()],
        "results": [_result(subject, verdict, rules, places) for subject, verdict in found],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"
