"""The table for a terminal, by rich: colours (NO_COLOR is honoured) and the terminal's width."""

from __future__ import annotations

import io
import os
import shutil

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tailcall_audit.analyzer.formats.lines import (
    columns,
    contradictions,
    details,
    heading,
    rows,
    settlements,
    shown,
    skipped,
    summary,
)
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Report, State
from tailcall_audit.analyzer.text import printable

__all__ = ["render"]

_STYLES = {State.AFFECTED: "bold red", State.FIXED: "green", State.NOT_AFFECTED: "green", State.UNKNOWN: "yellow"}


def render(report: Report, view: View) -> str:
    """Returns the whole report as text with colours, as wide as the terminal."""
    everything, explain = view
    width = shutil.get_terminal_size().columns
    # With a file of its own rich can't see the terminal, and decides by these alone.
    colours = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    written = io.StringIO()
    console = Console(
        file=written, highlight=False, soft_wrap=False, width=width, force_terminal=colours, no_color=not colours
    )
    for target in report.targets:
        verdicts = shown(target, everything)
        console.print(Text(heading(target), style="bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        titles = columns(verdicts)
        table.add_column(titles[0], width=1)
        for title in titles[1:]:
            table.add_column(title, no_wrap=title != titles[-1], overflow="fold")
        for row in rows(verdicts):
            number, slug, state, confidence, *seen, because = row.cells
            marked = [Text(cell, style="bold red" if row.contradicted else "dim") for cell in seen]
            table.add_row(
                number,
                slug,
                Text(state, style=_STYLES[row.state]),
                Text(confidence, style="dim"),
                *marked,
                Text(because),
            )
        console.print(table)
        console.print()
        if explain:
            for item in verdicts:
                first, *rest = details(item)
                console.print(Text(first, style=_STYLES[item.state]))
                for line in rest:
                    console.print(Text(line))
                console.print()
        for text in contradictions(verdicts):
            console.print(Text(f"CONTRADICTED {text}", style="bold red"))
        for command, slugs in settlements(verdicts):
            console.print(Text(f"to settle {', '.join(slugs)}:", style="yellow"))
            console.print(Text(f"  {command}"))
        for note in target.notes:
            console.print(Text(f"note: {printable(note)}", style="dim"))
        console.print(
            Text(
                summary(target, everything),
                style="bold red" if any(item.state is State.AFFECTED for item in verdicts) else "bold",
            )
        )
        console.print()
    for line in skipped(report):
        console.print(Text(line, style="yellow"))
    return written.getvalue()
