"""Many kernels at once, a row each: of a repository, with the first version without each defect, and of a lab, with what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from string import ascii_uppercase

from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.formats.lines import contradictions, skipped
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.model import Agreement, Report, Rule, State, TargetReport
from tailcall_audit.analyzer.text import printable

__all__ = ["column_titles", "render_lab", "render_matrix"]

_CELLS = {State.AFFECTED: "AFFECTED", State.FIXED: "fixed", State.NOT_AFFECTED: "-", State.UNKNOWN: "?"}
_MAX_COLUMNS = 8


def column_titles(defects: Sequence[Defect]) -> list[str]:
    """A short title each: the pitfall's number, with the last word of the slug where several have it; else the slug."""
    numbers = [defect.pitfall for defect in defects]
    return [
        defect.slug
        if defect.pitfall is None
        else str(defect.pitfall)
        if numbers.count(defect.pitfall) == 1
        else f"{defect.pitfall}-{defect.slug.rsplit('-', 1)[-1]}"
        for defect in defects
    ]


def render_matrix(report: Report, *, everything: bool) -> str:
    """The report of a repository as text; other architectures' defects are left out unless `everything` is wanted."""
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
        cells = [_CELLS[states[defect.slug]] if defect.slug in states else "" for defect in columns]
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
        f"{_CELLS[State.NOT_AFFECTED]} not-affected, {_CELLS[State.UNKNOWN]} unknown; '-' as a version: the newest has it, or may have it"
    )
    out += skipped(report)
    notes = [set(target.notes) for target in report.targets]
    common = [note for note in report.targets[0].notes if all(note in each for each in notes)] if notes else []
    out += [f"note: {printable(note)}" for note in common]
    return "\n".join([*out, ""])


_MARKS = {Agreement.CONFIRMED: "", Agreement.SETTLED: "*", Agreement.CONTRADICTED: "!!", Agreement.NOT_OBSERVED: "?"}


def _lab_cell(target: TargetReport, slug: str) -> str:
    item = next((item for item in target.verdicts if item.defect.slug == slug), None)
    if item is None:
        return ""
    if item.observation is None:
        return f"({item.state.value})"
    predicted = _CELLS[item.observation.predicted]
    mark = _MARKS[item.observation.agreement]
    if item.observation.agreement in (Agreement.CONTRADICTED, Agreement.SETTLED):
        return f"{predicted} {mark} {item.observation.state.value}"
    return f"{predicted} {mark}".strip()


def render_lab(report: Report) -> str:
    """The report of a lab as text: kernels by defects, turned so that a defect is a row."""
    slugs = {item.defect.slug: item.defect for target in report.targets for item in target.verdicts if item.observation}
    out: list[str] = [
        f"{letter}  {printable(target.name)}" for letter, target in zip(_letters(), report.targets, strict=False)
    ]
    letters = [line.split()[0] for line in out]
    table = [["#", "DEFECT", *letters]]
    for slug, defect in slugs.items():
        cells = [_lab_cell(target, slug) for target in report.targets]
        table.append([str(defect.pitfall or ""), slug, *cells])
    seen = [item.observation for target in report.targets for item in target.verdicts if item.observation is not None]
    counts = ", ".join(
        f"{sum(item.agreement is agreement for item in seen)} {agreement.value}" for agreement in Agreement
    )
    out += ["", *aligned(table), ""]
    for letter, target in zip(letters, report.targets, strict=True):
        out += [f"{letter}: CONTRADICTED {text}" for text in contradictions(target.verdicts)]
    out += skipped(report)
    out.append(
        "predicted; nothing more: seen so; !! contradicted, by what was seen; * unknown, and seen; ? not observed (--json says why); - not-affected"
    )
    return "\n".join([*out, counts, ""])


def _letters() -> Iterator[str]:
    """A, B, …, Z, AA, AB, …"""
    for size in range(1, 4):
        yield from ("".join(letters) for letters in product(ascii_uppercase, repeat=size))
