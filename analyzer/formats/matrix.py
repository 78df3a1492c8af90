"""Renders the kernels of a repository as a table, with a row for each, and the first version without each defect."""

from __future__ import annotations

from collections.abc import Sequence

from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.formats.lines import facts, skipped, waivers
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Report, Rule, State
from tailcall_audit.analyzer.text import printable

__all__ = ["CELLS", "column_titles", "render"]

LAYOUT = True

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
    everything = view.everything
    seen: dict[str, Defect] = {}
    for target in report.targets:
        for item in target.verdicts:
            if everything or item.rule is not Rule.OTHER_ARCHITECTURE:
                seen[item.defect.slug] = item.defect
    numbered = [defect for defect in seen.values() if defect.pitfall is not None]
    columns = list(seen.values()) if len(seen) <= _MAX_COLUMNS else numbered
    rest = [slug for slug in seen if all(defect.slug != slug for defect in columns)]
    table = [["KERNEL", *column_titles(columns), *(["OTHERS"] if rest else [])]]
    for target in report.targets:
        states = target.states
        others = [states.get(slug) for slug in rest]
        counts = [
            f"{others.count(state)} {state.value}" for state in (State.AFFECTED, State.UNKNOWN) if others.count(state)
        ]
        waived = {item.defect.slug for item in target.verdicts if item.waived}
        cells = [
            CELLS[states[defect.slug]] + (" w" if defect.slug in waived else "") if defect.slug in states else ""
            for defect in columns
        ]
        name = f"{target.name} {target.identity.get('architecture') or ''}".strip()
        table.append([printable(name), *cells, *([", ".join(counts) or "none"] if rest else [])])
    out = [*aligned(table), ""]
    kernels = dict.fromkeys(item.kernel for item in report.first_fixed)
    for kernel in kernels:
        firsts = [
            (item.defect, item.version) for item in report.first_fixed if item.kernel == kernel and item.defect in seen
        ]
        rows = [[slug, "-" if version is None else version] for slug, version in firsts]
        title = f"{kernel}: FIRST VERSION WITHOUT IT" if len(kernels) > 1 else "FIRST VERSION WITHOUT IT"
        out += [*aligned([["DEFECT", title], *([printable(cell) for cell in row] for row in rows)]), ""]
    if len(seen) > len(columns):
        out.append("others: the defects that are no pitfalls; --only NAME,… shows some as columns, --json all")
    out.append(
        f"{CELLS[State.NOT_AFFECTED]} not-affected, {CELLS[State.UNKNOWN]} unknown; '-' as a version: the newest has it, or may have it"
    )
    if any(item.waived for target in report.targets for item in target.verdicts):
        out.append("w waived")
        out += dict.fromkeys(line for target in report.targets for line in waivers(target.verdicts))
    out += skipped(report)
    notes = [set(target.notes) for target in report.targets]
    common = [note for note in report.targets[0].notes if all(note in each for each in notes)] if notes else []
    out += [f"note: {printable(note)}" for note in common]
    return "\n".join([*out, facts(report), ""])
