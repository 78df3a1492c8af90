"""Renders a report as CSV (RFC 4180) with a header: one row for each verdict, and for each input or node that could not
be judged.

A cell that a spreadsheet would interpret as a formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from tailcall_audit.analyzer.formats.kernel import Subject, subjects
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Report, Verdict
from tailcall_audit.analyzer.text import printable

__all__ = ["COLUMNS", "pieces", "render"]

COLUMNS = (
    *("kernel", "release", "upstream", "distro", "package", "architecture"),
    *("defect", "pitfall", "severity", "cves", "verdict", "confidence", "rule", "because", "reason", "settle"),
    *("seen", "waiver", "waived_until", "waived_by", "waiver_reason"),
    *("exposure", "hit", "refused"),
    *("nodes", "node_names"),
)
_MOST_NODES = 1000
"""Names of nodes in a cell. A spreadsheet's cells have at most 32,767 characters."""
_FORMULA = ("=", "+", "-", "@")


def _safe(cell: object) -> str:
    text = "" if cell is None else printable(str(cell))
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(subject: Subject, names: str, verdict: Verdict) -> dict[str, object]:
    kernel, target = subject.kernel, subject.target
    defect, waiver, seen, exposed = verdict.defect, verdict.waiver, verdict.observation, verdict.exposed
    return {
        "kernel": kernel.name,
        **{key: target.identity.get(key) for key in ("release", "upstream", "distro", "package")},
        "architecture": " ".join(verdict.architectures) or kernel.architecture,
        "defect": defect.slug,
        "pitfall": defect.pitfall,
        "severity": defect.severity,
        "cves": " ".join(defect.cves),
        "verdict": verdict.state.value,
        "confidence": verdict.confidence.label,
        "rule": verdict.rule.value,
        "because": verdict.brief,
        "reason": verdict.reason,
        "settle": verdict.settle,
        "seen": None if seen is None else f"{seen.state.value}, {seen.agreement.value}",
        "waiver": None if waiver is None else "expired" if waiver.expired else "waived",
        "waived_until": None if waiver is None else waiver.until,
        "waived_by": None if waiver is None else waiver.who,
        "waiver_reason": None if waiver is None else waiver.reason,
        "exposure": None if exposed is None else exposed.exposure.state.label,
        "hit": None if exposed is None else {True: "yes", False: "no", None: "possible"}[exposed.hit],
        "refused": None if exposed is None else exposed.refused.refused,
        "nodes": len(subject.nodes) or None,
        "node_names": names or None,
    }


def _rows(report: Report) -> Iterator[dict[str, object]]:
    for subject in subjects(report):
        names = subject.node_names(_MOST_NODES)
        for verdict in subject.target.verdicts:
            yield _row(subject, names, verdict)
    for item in report.skipped:
        yield {"kernel": item.label, "verdict": "skipped", "reason": item.reason}
    for node in report.nodes:
        if node.skipped is not None:
            yield {"verdict": "skipped", "reason": node.skipped, "nodes": 1, "node_names": node.name}


def pieces(report: Report, _: View) -> Iterator[str]:
    """Yields the rows. Lines end in a line feed."""
    written = io.StringIO()
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in _rows(report):
        writer.writerow({name: _safe(cell) for name, cell in row.items()})
        yield written.getvalue()
        written.seek(0)
        written.truncate()


def render(report: Report, view: View) -> str:
    """Returns the report as CSV."""
    return "".join(pieces(report, view))
