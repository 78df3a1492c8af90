"""Renders an exposure report as plain text, and as a table for a terminal."""

from __future__ import annotations

import io
import os
import shutil
import textwrap
from collections.abc import Sequence

from tailcall_audit.analyzer.exposure.report import ExposureReport
from tailcall_audit.analyzer.exposure.types import State
from tailcall_audit.analyzer.formats.call_graph import call_graph, chains
from tailcall_audit.analyzer.formats.exposure_lines import (
    COLUMNS,
    branch_rows,
    details_of,
    exposure_rows,
    is_shown,
    kernel_lines,
    matrix_rows,
    notes_of,
    summary_of,
    title_of,
)
from tailcall_audit.analyzer.formats.lines import heading
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.formats.registry import View

__all__ = ["exposure_as_table", "exposure_as_text"]

_STYLES = {State.MET: "bold red", State.POSSIBLE: "yellow", State.NOT_MET: "green"}


def _explained(found: ExposureReport, everything: bool) -> list[str]:
    """Returns the call graph, the loops and the details of each defect."""
    lines = ["call graph (> is where it matters)", *call_graph(found.sets, found.exposures), ""]
    loops = chains(item for item in found.exposures if is_shown(found, item))
    lines += [*loops, ""] if loops else []
    for item in found.exposures:
        if everything or is_shown(found, item):
            lines += [*details_of(found, item), ""]
    return lines


def _behind(found: ExposureReport) -> list[str]:
    """Returns the lines that follow the table: kernels, the matrix, branches, notes."""
    lines: list[str] = []
    for target in found.report.targets if found.report is not None else ():
        lines += [heading(target), *kernel_lines(target), ""]
    if found.rows and (len(found.rows) > 1 or len(found.rows[0].cells) > 1):
        table, legend = matrix_rows(found)
        lines += [*aligned(table), *legend, ""]
    if found.oldest:
        lines += [
            "the oldest release of each branch (mainline and stable, by the catalogue)",
            *aligned(branch_rows(found.oldest)),
            "",
        ]
    return lines + notes_of(found)


def exposure_as_text(found: ExposureReport, view: View) -> str:
    """Returns the exposure report as plain text."""
    lines = [title_of(found), ""]
    rows = exposure_rows(found, view.everything)
    lines += [*aligned([COLUMNS, *(row.cells for row in rows)]), ""] if rows else []
    lines += _explained(found, view.everything) if view.explain else []
    lines += _behind(found)
    return "\n".join([*lines, summary_of(found, view.everything), ""])


def exposure_as_table(found: ExposureReport, view: View) -> str:
    """Returns the exposure report as coloured text, as wide as the terminal. Respects NO_COLOR."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size().columns
    colours = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    written = io.StringIO()
    console = Console(file=written, highlight=False, width=width, force_terminal=colours, no_color=not colours)

    def show(lines: Sequence[str], style: str = "") -> None:
        for line in lines:
            indent = len(line) - len(line.lstrip())
            wrapped = textwrap.wrap(line, max(width, 20), subsequent_indent=" " * (indent + 4), break_on_hyphens=False)
            for part in wrapped or [""]:
                console.print(Text(part, style=style))

    show([title_of(found)], "bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in COLUMNS:
        table.add_column(
            title, no_wrap=title in ("#", "STATE"), overflow="fold", min_width=24 if title == COLUMNS[-1] else None
        )
    for row in exposure_rows(found, view.everything):
        number, slug, state, refused, because = row.cells
        table.add_row(number, slug, Text(state, style=_STYLES[row.state]), refused, Text(because))
    console.print(table)
    console.print()
    show(_explained(found, view.everything) if view.explain else [])
    show(_behind(found))
    met = any(item.state is State.MET for item in found.exposures)
    show([summary_of(found, view.everything)], "bold red" if met else "bold")
    return written.getvalue()
