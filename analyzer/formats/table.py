"""Renders a report for a terminal, by rich: with colours (unless NO_COLOR is set), as wide as the terminal."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

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
from tailcall_audit.analyzer.model import Report, State, TargetReport, Verdict
from tailcall_audit.analyzer.text import printable

__all__ = ["CHANGES", "render"]

CHANGES = Changes.TEXT

_STYLES = {State.AFFECTED: "bold red", State.FIXED: "green", State.NOT_AFFECTED: "green", State.UNKNOWN: "yellow"}


def render(report: Report, view: View) -> str:
    """Returns the whole report as text with colours, as wide as the terminal."""
    width = shutil.get_terminal_size().columns
    # rich writes to a file of its own and cannot see the terminal, so these settings decide alone.
    colours = "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    written = io.StringIO()
    console = Console(
        file=written, highlight=False, soft_wrap=False, width=width, force_terminal=colours, no_color=not colours
    )
    tables = _Tables(console)
    for target in report.targets:
        _print_target(console, target, view, tables)
    for line in skipped(report):
        console.print(Text(line, style="yellow"))
    console.print(Text(facts(report), style="dim"))
    return written.getvalue()


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    titles = columns(verdicts)
    table.add_column(titles[0], width=1)
    for title in titles[1:]:
        table.add_column(title, no_wrap=title != titles[-1], overflow="fold")
    for row in rows(verdicts):
        number, slug, state, confidence, *seen, because = row.cells
        marked = [Text(cell, style="bold red" if row.contradicted else "dim") for cell in seen]
        styled = Text(state, style=_STYLES[row.state])
        table.add_row(number, slug, styled, Text(confidence, style="dim"), *marked, Text(because))
    return table


class _Tables:
    """Renders tables of verdicts. Most kernels of a fleet have the table of another one, which is rendered once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._known: dict[tuple[object, ...], str] = {}

    def text(self, verdicts: Sequence[Verdict]) -> str:
        """Returns the table with its colours, and an empty line."""
        key = (columns(verdicts), *rows(verdicts))
        if key not in self._known:
            with self._console.capture() as captured:
                self._console.print(_table(verdicts))
                self._console.print()
            self._known[key] = captured.get()
        return self._known[key]


def _print_details(console: Console, verdicts: Sequence[Verdict]) -> None:
    for item in verdicts:
        first, *rest = details(item)
        console.print(Text(first, style=_STYLES[item.state]))
        for line in rest:
            console.print(Text(line))
        console.print()


def _print_target(console: Console, target: TargetReport, view: View, tables: _Tables) -> None:
    everything, explain = view.everything, view.explain
    verdicts = shown(target, everything)
    console.print(Text(heading(target), style="bold"))
    console.file.write(tables.text(verdicts))
    if explain:
        _print_details(console, verdicts)
    for text in contradictions(verdicts):
        console.print(Text(f"CONTRADICTED {text}", style="bold red"))
    for text in waivers(verdicts):
        console.print(Text(text, style="cyan"))
    for command, slugs in settlements(verdicts):
        console.print(Text(f"to settle {', '.join(slugs)}:", style="yellow"))
        console.print(Text(f"  {command}"))
    for note in target.notes:
        console.print(Text(f"note: {printable(note)}", style="dim"))
    affected = any(item.state is State.AFFECTED for item in verdicts)
    console.print(Text(summary(target, everything), style="bold red" if affected else "bold"))
    console.print()
