"""The table for a terminal, by rich: colours (NO_COLOR is honoured) and the terminal's width."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyzer.model import Report, State
from analyzer.report.lines import COLUMNS, details, heading, rows, settlements, shown, summary
from analyzer.text import printable

__all__ = ["render_terminal"]

_STYLES = {State.AFFECTED: "bold red", State.FIXED: "green", State.NOT_AFFECTED: "green", State.UNKNOWN: "yellow"}


def render_terminal(report: Report, *, everything: bool, explain: bool) -> None:
    """Print the whole report to standard output."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=False)
    for target in report.targets:
        verdicts = shown(target, everything)
        console.print(Text(heading(target), style="bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column(COLUMNS[0], width=1)
        for title, fixed in zip(COLUMNS[1:], (True, True, True, False), strict=True):
            table.add_column(title, no_wrap=fixed, overflow="fold")
        for row in rows(verdicts):
            number, slug, state, confidence, because = row.cells
            table.add_row(
                number, slug, Text(state, style=_STYLES[row.state]), Text(confidence, style="dim"), Text(because)
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
