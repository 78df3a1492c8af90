"""A plan for a terminal, by rich: colours (NO_COLOR is honoured) and the terminal's width."""

from __future__ import annotations

import io
import os
import shutil

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.plan.lines import COLUMNS, cells, details, ending, heading, open_lines, outcome_lines
from tailcall_audit.analyzer.plan.types import Outcome, Plan

__all__ = ["render"]

_STYLES = {
    Outcome.CLEAN: "green",
    Outcome.RENAMES: "green",
    Outcome.PRESENT: "dim",
    Outcome.CONFLICTS: "bold red",
    Outcome.OBJECT_MISSING: "yellow",
    Outcome.UNTESTED: "yellow",
}


def render(plan: Plan, _: Catalog) -> str:
    """Returns the plan as text with colours, as wide as the terminal."""
    # rich writes to a file of its own and cannot see the terminal, so these settings decide alone.
    colours = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    written = io.StringIO()
    console = Console(
        file=written,
        highlight=False,
        width=shutil.get_terminal_size().columns,
        force_terminal=colours,
        no_color=not colours,
    )
    console.print(Text(heading(plan), style="bold"))
    if plan.steps:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for title in COLUMNS:
            table.add_column(title, no_wrap=title in ("#", "COMMIT", "FROM"), overflow="fold")
        for number, step in enumerate(plan.steps, 1):
            styled = [
                Text(cell, style=_STYLES[step.outcome] if index == 3 else "")
                for index, cell in enumerate(cells(number, step))
            ]
            table.add_row(*styled)
        console.print(table)
        console.print()
    for number, step in enumerate(plan.steps, 1):
        for line in details(number, step):
            console.print(Text(line, style="yellow" if step.outcome is Outcome.CONFLICTS or step.lacks else ""))
    for lines, style in ((outcome_lines(plan), ""), (open_lines(plan), "bold red"), (ending(plan), "")):
        for line in lines:
            console.print(Text(line, style=style))
    return written.getvalue()
