"""Renders a comparison of two reports as text, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tailcall_audit.analyzer.formats.markdown import as_markdown
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.formats.registry import Changes
from tailcall_audit.analyzer.gates.compare import Change, Comparison, NewDefect, Trend
from tailcall_audit.analyzer.text import printable

__all__ = ["comparison_as_json", "render_changes", "render_comparison", "render_comparison_as_markdown"]

_TITLES = {
    Trend.WORSE: "Worse",
    Trend.BETTER: "Better",
    Trend.KNOWN: "Newly known",
    Trend.LOST: "No longer known to be affected",
}
_FEW = 5
_COLUMNS = ("DEFECT", "BEFORE", "NOW", "BECAUSE", "WHERE")


def _some(names: Sequence[str]) -> str:
    """Returns the first names and the number of the remaining ones."""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more


def _row(item: Change) -> list[str]:
    where = f" on {', '.join(item.architectures)}" if item.architectures else ""
    now = item.now.state.value + (", waived" if item.now.waived else "")
    return [item.defect, item.before.value, now, printable(item.now.brief), printable(_some(item.units) + where)]


def _new_defect(item: NewDefect) -> str:
    return f"{item.defect}: {', '.join(f'{number} {state.value}' for state, number in item.states.items())}"


def _lists(found: Comparison) -> Iterable[tuple[str, list[str]]]:
    """Yields the title and the lines of each separate list: unreadable inputs, defects and kernels that are in one
    report only.
    """
    old, new = found.old.catalog, found.new.catalog
    by = f" (the catalogue was of {old}, and is of {new} now)" if old and new and old != new else ""
    yield "Could not be judged now", [f"{name}: {reason}" for name, reason in found.unreadable.items()]
    yield f"Not looked for before{by}", [_new_defect(item) for item in found.new_defects]
    yield "Not looked for now", list(found.not_asked)
    yield f"Only in {found.old.name}", list(found.vanished)
    yield f"Only in {found.new.name}", list(found.appeared)


def summary(found: Comparison) -> str:
    """Returns the last line, with the counts."""
    counts = [sum(item.trend is trend for item in found.changes) for trend in Trend]
    words = [f"{number} {trend.value}" for trend, number in zip(Trend, counts, strict=True)]
    waived = sum(item.now.waived for item in found.changes if item.trend is Trend.WORSE)
    more = f" ({waived} of these waived)" if waived else ""
    unread = f", {len(found.unreadable)} that could not be judged" if found.unreadable else ""
    return f"{found.compared} compared: {words[0]}{more}{unread}, {', '.join(words[1:])}"


def render_comparison(found: Comparison) -> str:
    """Returns the comparison as text. The last line has the counts."""
    lines: list[str] = []
    for trend, title in _TITLES.items():
        rows = [_row(item) for item in found.changes if item.trend is trend]
        if rows:
            lines += [f"{title}:", *(f"  {line}" for line in aligned([_COLUMNS, *rows])), ""]
    for title, entries in _lists(found):
        if entries:
            lines += [f"{printable(title)}:", *(f"  {printable(entry)}" for entry in entries), ""]
    return "\n".join([*lines, summary(found), ""])


def render_changes(found: Comparison, form: Changes) -> str:
    """Returns the comparison in a form that follows a report."""
    return render_comparison(found) if form is Changes.TEXT else "\n" + render_comparison_as_markdown(found)


def render_comparison_as_markdown(found: Comparison) -> str:
    """Returns the comparison as Markdown."""
    lines = ["## What changed", ""]
    for trend, title in _TITLES.items():
        rows = [_row(item) for item in found.changes if item.trend is trend]
        if rows:
            lines += [
                f"### {title}",
                "",
                f"| {' | '.join(name.lower() for name in _COLUMNS)} |",
                "|---|---|---|---|---|",
            ]
            lines += [f"| {' | '.join(map(as_markdown, row))} |" for row in rows]
            lines.append("")
    for title, entries in _lists(found):
        if entries:
            lines += [f"### {as_markdown(title)}", "", *(f"- {as_markdown(entry)}" for entry in entries), ""]
    return "\n".join([*lines, as_markdown(summary(found)), ""])


def _change(item: Change) -> dict[str, Any]:
    return {
        "defect": item.defect,
        "before": item.before.value,
        "now": item.now.state.value,
        "because": item.now.brief,
        "waived": item.now.waived,
        "architectures": list(item.architectures),
        "where": list(item.units),
    }


def comparison_as_json(found: Comparison) -> str:
    """Returns the comparison as JSON text (docs/gates.md)."""
    keys = {Trend.WORSE: "worse", Trend.BETTER: "better", Trend.KNOWN: "newly_known", Trend.LOST: "no_longer_known"}
    document = {
        "old": {"name": found.old.name, "catalog": found.old.catalog or None},
        "new": {"name": found.new.name, "catalog": found.new.catalog or None},
        "compared": found.compared,
        **{key: [_change(item) for item in found.changes if item.trend is trend] for trend, key in keys.items()},
        "unreadable": [{"label": name, "reason": reason} for name, reason in found.unreadable.items()],
        "new_defects": [
            {"defect": item.defect, "states": {state.value: number for state, number in item.states.items()}}
            for item in found.new_defects
        ],
        "not_looked_for": list(found.not_asked),
        "vanished": list(found.vanished),
        "appeared": list(found.appeared),
    }
    return json.dumps(document, indent=2) + "\n"
