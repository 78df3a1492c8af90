"""Renders a report as plain text, for pipes and files. Loads no table library, so that a version string is answered in
60 ms.
"""

from __future__ import annotations

from collections.abc import Sequence

from tailcall_audit.analyzer.formats.lines import (
    columns,
    contradictions,
    details,
    facts,
    heading,
    rows,
    settlements,
    shown,
    skipped,
    summary,
    waivers,
)
from tailcall_audit.analyzer.formats.registry import Changes, View
from tailcall_audit.analyzer.model import Report
from tailcall_audit.analyzer.text import printable

__all__ = ["CHANGES", "aligned", "render"]

CHANGES = Changes.TEXT


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Returns lines of left-aligned columns, two spaces apart."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def render(report: Report, view: View) -> str:
    """Returns the whole report as text."""
    everything, explain = view.everything, view.explain
    out: list[str] = []
    for target in report.targets:
        verdicts = shown(target, everything)
        out += [heading(target), ""]
        if verdicts:
            out += [*aligned([columns(verdicts), *(row.cells for row in rows(verdicts))]), ""]
        if explain:
            for item in verdicts:
                out += [*details(item), ""]
        out += [f"CONTRADICTED {text}" for text in contradictions(verdicts)]
        out += waivers(verdicts)
        for command, slugs in settlements(verdicts):
            out += [f"to settle {', '.join(slugs)}:", f"  {command}"]
        out += [f"note: {printable(note)}" for note in target.notes]
        out += [summary(target, everything), ""]
    out += skipped(report)
    out += [facts(report), ""]
    return "\n".join(out)
