"""The baseline of an audit: an earlier report that this one is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.app.streams import say_lines
from tailcall_audit.analyzer.model import Report

if TYPE_CHECKING:
    from tailcall_audit.analyzer.formats.registry import Format
    from tailcall_audit.analyzer.gates.compare import Comparison
    from tailcall_audit.analyzer.gates.stored import Stored

__all__ = ["against", "read_baseline", "with_changes"]


def read_baseline(path: str | None) -> Stored | None:
    """Returns the report that --baseline names; raises AuditError."""
    if path is None:
        return None
    from tailcall_audit.analyzer.gates.stored import read_report

    return read_report(path)


def against(baseline: Stored | None, report: Report) -> Comparison | None:
    """Returns a report compared with its baseline; raises AuditError if they have nothing in common."""
    if baseline is None:
        return None
    from tailcall_audit.analyzer.gates.compare import compare
    from tailcall_audit.analyzer.gates.stored import stored

    return compare(baseline, stored(report))


def with_changes(pieces: Iterable[str], compared: Comparison | None, chosen: Format) -> Iterator[str]:
    """Yields the pieces of a report in a format, and behind them what changed. Formats that can have nothing behind a
    report leave that to standard error.
    """
    yield from pieces
    if compared is None:
        return
    from tailcall_audit.analyzer.formats.diff import render_changes, render_comparison

    if chosen.changes is None:
        say_lines(render_comparison(compared))
    else:
        yield render_changes(compared, chosen.changes)
