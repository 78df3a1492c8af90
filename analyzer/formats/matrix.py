"""Renders the kernels of a repository as a table, with a row for each, and the first version without each defect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.formats.lines import facts, skipped, waivers
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.formats.registry import Changes, View
from tailcall_audit.analyzer.model import Report, Rule, State, TargetReport
from tailcall_audit.analyzer.text import printable

__all__ = ["CELLS", "CHANGES", "column_titles", "render"]

LAYOUT = True
CHANGES = Changes.TEXT

CELLS = {State.AFFECTED: "AFFECTED", State.FIXED: "fixed", State.NOT_AFFECTED: "-", State.UNKNOWN: "?"}
_MAX_COLUMNS = 8


def column_titles(defects: Sequence[Defect]) -> list[str]:
    """Returns a short title for each defect: the pitfall's number (with the last word of the slug if several have it),
    else the slug.
    """
    numbers = [defect.pitfall for defect in defects]
    return [
        defect.slug
        if defect.pitfall is None
        else str(defect.pitfall)
        if numbers.count(defect.pitfall) == 1
        else f"{defect.pitfall}-{defect.slug.rsplit('-', 1)[-1]}"
        for defect in defects
    ]


def render(report: Report, view: View) -> str:
    """Returns the report of a repository as text; defects of other architectures are left out unless all are requested."""
    seen = _shown_defects(report, view)
    numbered = [defect for defect in seen.values() if defect.pitfall is not None]
    columns = list(seen.values()) if len(seen) <= _MAX_COLUMNS else numbered
    rest = [slug for slug, defect in seen.items() if defect not in columns]
    table = [["KERNEL", *column_titles(columns), *(["OTHERS"] if rest else [])]]
    table += [_row(target, columns, rest) for target in report.targets]
    out = [*aligned(table), "", *_first_fixed(report, seen), *_legend(report, len(rest) > 0), *skipped(report)]
    out += [f"note: {printable(note)}" for note in _common_notes(report.targets)]
    return "\n".join([*out, facts(report), ""])


def _shown_defects(report: Report, view: View) -> dict[str, Defect]:
    return {
        item.defect.slug: item.defect
        for target in report.targets
        for item in target.verdicts
        if view.everything or item.rule is not Rule.OTHER_ARCHITECTURE
    }


def _row(target: TargetReport, columns: Sequence[Defect], rest: Sequence[str]) -> list[str]:
    """Returns the row of a kernel: a cell for each defect of `columns`, and one that counts those of `rest`, if any."""
    states = target.states
    waived = {item.defect.slug for item in target.verdicts if item.waived}
    cells = [
        CELLS[states[defect.slug]] + (" w" if defect.slug in waived else "") if defect.slug in states else ""
        for defect in columns
    ]
    others = [states.get(slug) for slug in rest]
    counts = [f"{others.count(state)} {state.value}" for state in (State.AFFECTED, State.UNKNOWN) if state in others]
    name = f"{target.name} {target.identity.get('architecture') or ''}".strip()
    return [printable(name), *cells, *([", ".join(counts) or "none"] if rest else [])]


def _first_fixed(report: Report, seen: Mapping[str, Defect]) -> Iterator[str]:
    """Yields the lines of a table for each kernel: the first version without each defect."""
    kernels = dict.fromkeys(item.kernel for item in report.first_fixed)
    for kernel in kernels:
        rows = [
            [printable(item.defect), printable(item.version or "-")]
            for item in report.first_fixed
            if item.kernel == kernel and item.defect in seen
        ]
        title = f"{kernel}: FIRST VERSION WITHOUT IT" if len(kernels) > 1 else "FIRST VERSION WITHOUT IT"
        yield from (*aligned([["DEFECT", title], *rows]), "")


def _legend(report: Report, has_others: bool) -> Iterator[str]:
    """Yields the lines that explain the table's cells."""
    if has_others:
        yield "others: the defects that are no pitfalls; --only NAME,… shows some as columns, --json all"
    yield (
        f"{CELLS[State.NOT_AFFECTED]} not-affected, {CELLS[State.UNKNOWN]} unknown; '-' as a version: the newest has it,"
        " or may have it"
    )
    if any(item.waived for target in report.targets for item in target.verdicts):
        yield "w waived"
        yield from dict.fromkeys(line for target in report.targets for line in waivers(target.verdicts))


def _common_notes(targets: Sequence[TargetReport]) -> list[str]:
    """Returns the notes that all kernels have."""
    notes = [set(target.notes) for target in targets]
    return [note for note in targets[0].notes if all(note in each for each in notes)] if notes else []
