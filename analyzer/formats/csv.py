"""Renders a report as CSV (RFC 4180) with a header: one row for each verdict and each input that could not be judged.

A cell that a spreadsheet would interpret as a formula gets a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from tailcall_audit.analyzer.formats.kernel import Subject, subjects, with_skipped_nodes
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Report, Verdict
from tailcall_audit.analyzer.text import printable

__all__ = ["COLUMNS", "render"]

COLUMNS = (
    *("kernel", "release", "upstream", "distro", "package", "architecture"),
    *("defect", "pitfall", "severity", "cves", "verdict", "confidence", "rule", "because", "reason", "settle"),
    *("seen", "waiver", "waived_until", "waived_by", "waiver_reason"),
    *("exposure", "hit", "refused"),
)
_FORMULA = ("=", "+", "-", "@")


def _safe(cell: object) -> str:
    text = "" if cell is None else printable(str(cell))
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(subject: Subject, verdict: Verdict) -> dict[str, object]:
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
    }


def _rows(report: Report) -> Iterator[dict[str, object]]:
    for subject in subjects(report):
        for verdict in subject.target.verdicts:
            yield _row(subject, verdict)
    for item in report.skipped:
        yield {"kernel": item.label, "verdict": "skipped", "reason": item.reason}


def render(report: Report, _: View) -> str:
    """Returns the report as CSV. Lines end in a line feed."""
    report = with_skipped_nodes(report)
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in _rows(report):
        writer.writerow([_safe(row.get(name)) for name in COLUMNS])
    return written.getvalue()
