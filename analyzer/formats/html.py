"""Renders a report as one self-contained HTML page, by jinja2: a matrix, and the evidence for each verdict. The page
has no scripts and loads nothing.

The template escapes everything. In addition, the page's content security policy forbids scripts and connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tailcall_audit import __version__
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.formats.extra import needs
from tailcall_audit.analyzer.formats.kernel import Subject, subjects, with_skipped_nodes
from tailcall_audit.analyzer.formats.lines import (
    contradictions,
    details,
    heading,
    programs_words,
    settlements,
    skipped,
    summary,
    waivers,
)
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Agreement, Report, Rule, State, Verdict
from tailcall_audit.analyzer.text import printable
from tailcall_audit.probes.reading import read_file

__all__ = ["render"]

_ORDER = (State.NOT_AFFECTED, State.FIXED, State.UNKNOWN, State.AFFECTED)
_WORDS = {State.AFFECTED: "affected", State.FIXED: "fixed", State.NOT_AFFECTED: "-", State.UNKNOWN: "unknown"}

_OPEN = ("affected", "unknown", "waived", "contradicted")
_MOST_OF_A_PAGE = 1 << 20
_FEW = 12
"""Up to this number of kernels, the matrix has a column for each, and the page contains all evidence."""


_LEGEND = "-: not affected"
_MOST_NODES = 1000
"""Names of nodes that are listed for a kernel."""


class _Cell(NamedTuple):
    """A cell of the matrix: its text, its CSS class and its link target."""

    words: str
    style: str
    anchor: str


class _Entry(NamedTuple):
    """A verdict with the text of its details."""

    verdict: Verdict
    words: str
    style: str
    anchor: str
    because: str
    evidence: str


class _Kernel(NamedTuple):
    """The part of the page about one kernel. `entries` are the verdicts, the worst first; `others` those on other
    architectures' code. `listed` are the entries of both that are shown with their evidence.
    """

    name: str
    heading: str
    summary: str
    nodes: str | None
    anchor: str
    entries: tuple[_Entry, ...]
    others: tuple[_Entry, ...]
    listed: tuple[_Entry, ...]
    warnings: tuple[str, ...]
    waivers: tuple[str, ...]
    settlements: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


class _Title(NamedTuple):
    """The title of a row or a column, and its link target."""

    words: str
    anchor: str = ""


class _Matrix(NamedTuple):
    """A table: the title of its first column (`corner`), the titles of the other columns, its rows, and notes
    about it.
    """

    corner: str
    titles: list[_Title]
    lines: list[tuple[_Title, list[_Cell]]]
    notes: tuple[str, ...]


def _style(verdict: Verdict) -> str:
    if verdict.observation is not None and verdict.observation.agreement is Agreement.CONTRADICTED:
        return "contradicted"
    return "waived" if verdict.waived else verdict.state.value


def _words(verdict: Verdict) -> str:
    words = _WORDS[verdict.state]
    if _style(verdict) == "contradicted":
        return f"{words}, contradicted"
    return f"{words}, waived" if verdict.waived else words


def _entry(verdict: Verdict, anchor: str) -> _Entry:
    where = f" ({', '.join(verdict.architectures)})" if verdict.architectures else ""
    lines = "\n".join(details(verdict)[1:])
    brief = printable(verdict.brief + where + programs_words(verdict))
    return _Entry(verdict, _words(verdict), _style(verdict), anchor, brief, lines)


def _kernel(subject: Subject, number: int, brief: bool) -> _Kernel:
    target = subject.target
    entries = [_entry(item, f"k{number}-d{place}") for place, item in enumerate(target.verdicts)]
    listed = [item for item in entries if not brief or item.style in _OPEN]
    shown = [item for item in entries if item.verdict.rule is not Rule.OTHER_ARCHITECTURE]
    verdicts = [item.verdict for item in shown]
    return _Kernel(
        subject.title,
        heading(target),
        summary(target, everything=True),
        subject.nodes_line(_MOST_NODES),
        f"k{number}",
        tuple(sorted(shown, key=lambda item: -_ORDER.index(item.verdict.state))),
        tuple(item for item in entries if item.verdict.rule is Rule.OTHER_ARCHITECTURE),
        tuple(listed),
        tuple(contradictions(verdicts)),
        tuple(waivers(verdicts)),
        tuple((command, ", ".join(slugs)) for command, slugs in settlements(verdicts)),
        tuple(map(printable, target.notes)),
    )


def _cell(kernel: _Kernel, defect: Defect) -> _Cell:
    entries = [item for item in (*kernel.entries, *kernel.others) if item.verdict.defect.slug == defect.slug]
    if not entries:
        return _Cell("", "none", kernel.anchor)
    worst = max(entries, key=lambda item: _ORDER.index(item.verdict.state))
    return _Cell(worst.words, worst.style, worst.anchor if worst in kernel.listed else kernel.anchor)


def _defects(kernels: Sequence[_Kernel], report: Report) -> list[Defect]:
    """Returns the defects that concern the architecture of one of the kernels, in the catalogue's order, the pitfalls
    first.
    """
    found = {item.verdict.defect.slug: item.verdict.defect for each in kernels for item in each.entries}
    place = {defect.slug: number for number, defect in enumerate(report.catalog.defects)}
    return sorted(found.values(), key=lambda defect: (defect.pitfall or 99, place.get(defect.slug, len(place))))


def _matrix(kernels: Sequence[_Kernel], report: Report) -> _Matrix:
    """Returns the matrix. Few kernels get a column each. Many kernels get a row each, with only the defects that some
    of them have.
    """
    defects = _defects(kernels, report)
    heads = [_Title(kernel.name, kernel.anchor) for kernel in kernels]
    cells = [[_cell(kernel, defect) for defect in defects] for kernel in kernels]
    if len(kernels) <= _FEW:
        names = [_Title(f"{item.pitfall} · {item.slug}" if item.pitfall else item.slug) for item in defects]
        return _Matrix("defect", heads, list(zip(names, map(list, zip(*cells, strict=True)), strict=True)), (_LEGEND,))
    open_ones = [place for place in range(len(defects)) if any(row[place].style in _OPEN for row in cells)]
    return _Matrix(
        "kernel",
        [_Title(defects[place].slug) for place in open_ones],
        [(head, [row[place] for place in open_ones]) for head, row in zip(heads, cells, strict=True)],
        (
            _LEGEND,
            f"{len(defects) - len(open_ones)} defects that no kernel has are left out of this table.",
            f"Of more than {_FEW} kernels, only what is affected or unknown is listed with its evidence below.",
        ),
    )


def render(report: Report, view: View) -> str:
    """Returns the report as an HTML page. Raises AuditError if the library is not installed."""
    report = with_skipped_nodes(report)
    with needs("jinja2", "html"):
        from jinja2 import Environment, StrictUndefined

    source = read_file(Path(__file__).with_name("page.html.jinja"), _MOST_OF_A_PAGE).decode()
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    brief = len(report.targets) > _FEW
    kernels = [_kernel(subject, number, brief) for number, subject in enumerate(subjects(report), 1)]
    page = template.render(
        kernels=kernels,
        matrix=_matrix(kernels, report),
        skipped=skipped(report),
        made=datetime.fromtimestamp(view.made, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        catalog=printable(report.catalog.date),
    )
    return page.rstrip("\n") + "\n"
