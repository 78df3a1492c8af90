"""Renders a report as Markdown (GitHub's), for a comment or an issue: a matrix if there are several kernels, then a
table for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.formats.kernel import Subject, subjects, with_skipped_nodes
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
    waivers,
)
from tailcall_audit.analyzer.formats.registry import Changes, View
from tailcall_audit.analyzer.model import Report, State, Verdict
from tailcall_audit.analyzer.text import printable

__all__ = ["CHANGES", "as_markdown", "render"]

CHANGES = Changes.MARKDOWN

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&@])")
_MARKS = {State.AFFECTED: "**affected**", State.FIXED: "fixed", State.NOT_AFFECTED: "-", State.UNKNOWN: "*unknown*"}
_WIDEST = 12
"""Up to this number of kernels, a matrix has a column for each; above it, a row for each."""

_LEGEND = "-: not affected. Empty: the defect is in code of another architecture."
_MOST_NODES = 50
"""Names of nodes that are listed for a kernel."""


def as_markdown(words: str) -> str:
    """Escapes text from an input for Markdown, so that it cannot form links, mentions, tags or table cells."""
    return _SPECIAL.sub(r"\\\1", printable(words)).replace("://", ":\\//").replace("www.", "www\\.")


def _code(words: str) -> str:
    """Returns text as inline code. Backticks are replaced, because they would end it."""
    return f"`{printable(words).replace('`', chr(39)).replace('|', '¦')}`"


def _table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(titles)} |",
        f"|{'---|' * len(titles)}",
        *(f"| {' | '.join(cells)} |" for cells in lines),
    ]


def _cell(items: Sequence[Verdict]) -> str:
    """Returns the matrix cell of a defect in a kernel: the worst verdict, if it differs between architectures."""
    if not items:
        return ""
    worst = max(items, key=lambda item: (item.state is State.AFFECTED, item.state is State.UNKNOWN))
    return _MARKS[worst.state] + (" (waived)" if worst.waived else "")


def _matrix(found: Sequence[Subject], view: View) -> list[str]:
    defects: dict[str, Defect] = {}
    by_kernel: list[dict[str, list[Verdict]]] = []
    for subject in found:
        cells: dict[str, list[Verdict]] = {}
        for verdict in shown(subject.target, view.everything):
            defects[verdict.defect.slug] = verdict.defect
            cells.setdefault(verdict.defect.slug, []).append(verdict)
        by_kernel.append(cells)
    defects = dict(sorted(defects.items(), key=lambda item: item[1].pitfall or 99))
    if len(found) <= _WIDEST:
        titles = ["defect", *(as_markdown(subject.title) for subject in found)]
        lines = [[slug, *(_cell(cells.get(slug, ())) for cells in by_kernel)] for slug in defects]
        return [*_table(titles, lines), "", as_markdown(_LEGEND)]
    worth = [slug for slug in defects if any(_is_open(cells.get(slug, ())) for cells in by_kernel)]
    lines = [
        [as_markdown(subject.title), *(_cell(cells.get(slug, ())) for slug in worth)]
        for subject, cells in zip(found, by_kernel, strict=True)
    ]
    return [
        *_table(["kernel", *worth], lines),
        "",
        as_markdown(f"{_LEGEND} {len(defects) - len(worth)} defects that no kernel has are left out."),
    ]


def _is_open(items: Sequence[Verdict]) -> bool:
    return any(item.state in (State.AFFECTED, State.UNKNOWN) for item in items)


def _row(cells: Sequence[str], state: State) -> list[str]:
    number, slug, words, *rest = cells
    marked = f"**{words}**" if state is State.AFFECTED else f"*{words}*" if state is State.UNKNOWN else words
    return [number, slug, marked, *map(as_markdown, rest)]


def _evidence(verdicts: Sequence[Verdict]) -> Iterator[str]:
    for item in verdicts:
        first, *rest = details(item)
        yield from ("<details>", f"<summary>{as_markdown(first)}</summary>", "")
        # In an indented block, Markdown shows everything literally.
        yield from (f"    {line}" for line in rest)
        yield from ("", "</details>", "")


def _kernel(subject: Subject, view: View) -> Iterator[str]:
    target = subject.target
    verdicts = shown(target, view.everything)
    yield f"### {as_markdown(heading(target))}"
    yield ""
    if verdicts:
        titles = [title.lower() for title in columns(verdicts)]
        yield from _table(titles, [_row(row.cells, row.state) for row in rows(verdicts)])
        yield ""
    yield f"{summary(target, view.everything)}"
    yield ""
    nodes = subject.nodes_line(_MOST_NODES)
    if nodes is not None:
        yield f"- {as_markdown(nodes)}"
    for line in contradictions(verdicts):
        yield f"- **CONTRADICTED** {as_markdown(line)}"
    for line in waivers(verdicts):
        yield f"- {as_markdown(line)}"
    for command, slugs in settlements(verdicts):
        yield f"- to settle {', '.join(slugs)}: {_code(command)}"
    for note in target.notes:
        yield f"- note: {as_markdown(note)}"
    yield ""
    if view.explain:
        yield from _evidence(verdicts)


def render(report: Report, view: View) -> str:
    """Returns the report as Markdown."""
    report = with_skipped_nodes(report)
    found = list(subjects(report))
    lines = ["## Known defects of eBPF tail calls", ""]
    if len(found) > 1:
        lines += [*_matrix(found, view), ""]
    if len(found) <= _WIDEST:
        lines += [line for subject in found for line in _kernel(subject, view)]
    lines += [f"- {as_markdown(line)}" for line in skipped(report)]
    if report.skipped:
        lines.append("")
    lines.append(f"Catalogue of {as_markdown(report.catalog.date)}.")
    return "\n".join(lines) + "\n"
