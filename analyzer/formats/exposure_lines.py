"""The rows, details and phrases that the text formats of exposure share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.exposure.join import Cell
from tailcall_audit.analyzer.exposure.releases import Oldest
from tailcall_audit.analyzer.exposure.report import ExposureReport
from tailcall_audit.analyzer.exposure.types import Exposed, Exposure, State
from tailcall_audit.analyzer.formats.lines import Meaning, meaning, programs_cell, programs_reason
from tailcall_audit.analyzer.model import TargetReport, Verdict
from tailcall_audit.analyzer.text import printable

__all__ = [
    "COLUMNS",
    "ExposureRow",
    "branch_rows",
    "details_of",
    "exposure_rows",
    "is_shown",
    "kernel_lines",
    "matrix_rows",
    "notes_of",
    "summary_of",
    "title_of",
]

COLUMNS = ("#", "DEFECT", "STATE", "FIX REFUSES", "BECAUSE")
BRANCH_COLUMNS = ("BRANCH", "WITHOUT A HIT", "NOR A POSSIBLE ONE", "OPEN THERE")
_PLACES = 8
"""The maximum number of places in the details of a defect."""
_SIDE_BY_SIDE = 3
"""Up to this number of kernels, columns are titled with names. More kernels are numbered."""


class ExposureRow(NamedTuple):
    """A row of the table."""

    state: State
    cells: tuple[str, ...]


def title_of(found: ExposureReport) -> str:
    """Returns a line that describes what was examined."""
    objects = ", ".join(item.label for item in found.sets)
    count = sum(len(item.programs) for item in found.sets)
    world = "nothing else is loaded or attached (--closed)" if found.closed else "others may load and attach programs"
    return printable(f"{objects} · {count} program{'s' * (count != 1)} · {world}")


def _ordered(found: ExposureReport, everything: bool) -> list[Exposure]:
    shown = [item for item in found.exposures if everything or is_shown(found, item)]
    return sorted(shown, key=lambda item: -item.state)


def _is_elsewhere(found: ExposureReport, item: Exposure) -> bool:
    """Returns True if the defect is in code of other architectures than the requested one."""
    (defect,) = found.catalog.find(item.defect)
    return found.architecture is not None and bool(
        defect.architectures and found.architecture not in defect.architectures
    )


def is_shown(found: ExposureReport, item: Exposure) -> bool:
    """Returns True if the defect is met, possible or causes refusals, and is in code of the requested architecture."""
    return not _is_elsewhere(found, item) and (item.state is not State.NOT_MET or bool(item.refusals))


def _because(item: Exposure) -> str:
    """Returns why a defect is shown: for one that is not met, why a fix of it refuses a program."""
    if item.state is State.NOT_MET and item.refusals:
        refusal = max(item.refusals, key=lambda found: found.finding.state)
        return f"fix {refusal.commit}: {refusal.finding.reason}"
    return item.finding.reason


def exposure_rows(found: ExposureReport, everything: bool) -> list[ExposureRow]:
    """Returns a row for each defect, the surest first. `everything` adds the defects that are not met.

    If several defects have the same reason, the later ones refer to the first.
    """
    pitfalls = {defect.slug: defect.pitfall for defect in found.catalog.defects}
    first: dict[str, str] = {}
    rows = []
    for item in _ordered(found, everything):
        reason = _because(item)
        same = first.setdefault(reason, item.defect)
        because = reason if same == item.defect else f"as {same}"
        refused = "" if item.refused is State.NOT_MET else item.refused.refused
        cells = (str(pitfalls.get(item.defect) or ""), item.defect, item.state.label, refused, printable(because))
        rows.append(ExposureRow(item.state, cells))
    return rows


def summary_of(found: ExposureReport, everything: bool) -> str:
    """Returns the last line, with the number of defects in each state: of the requested architecture, or of all where
    all are shown.
    """
    own = [item for item in found.exposures if everything or not _is_elsewhere(found, item)]
    counts = ", ".join(f"{sum(item.state is state for item in own)} {state.label}" for state in reversed(State))
    hidden = sum(not is_shown(found, item) for item in own)
    parts = [
        f"{hidden} not-met" if hidden else "",
        f"{others} of other architectures" if (others := len(found.exposures) - len(own)) else "",
    ]
    left_out = " and ".join(filter(None, parts))
    return counts + (f"; {left_out} are not shown (--all)" if left_out and not everything else "")


def details_of(found: ExposureReport, item: Exposure) -> list[str]:
    """Returns the lines of details about one defect."""
    (defect,) = found.catalog.find(item.defect)
    lines = [f"{item.defect}: {item.state.label}", f"  {defect.title}", f"  reason:      {item.finding.reason}"]
    lines += [f"  where:       {place}" for place in item.finding.where[:_PLACES]]
    left = len(item.finding.where) - _PLACES
    lines += [f"               and {left} more places"] if left > 0 else []
    lines += [f"  {number:10}.  {step}" for number, step in enumerate(item.finding.chain, 1)]
    if item.finding.settle and item.state is State.POSSIBLE:
        lines.append(f"  to settle:   {item.finding.settle}")
    if item.state is State.MET:
        lines.append(f"  consequence: {defect.consequence}")
    for refusal in item.refusals:
        words = f": {refusal.words}" if refusal.words else ""
        lines.append(f"  fix {refusal.commit} refuses ({refusal.finding.state.refused}): {refusal.errno}{words}")
        lines.append(f"               {refusal.what}: {refusal.finding.reason}")
    return [printable(line) for line in lines]


def notes_of(found: ExposureReport) -> list[str]:
    """Returns lines about everything that could not be read."""
    notes = [f"note: {owner.label}: {note}" for owner in found.sets for note in owner.notes]
    notes += [f"skipped: {item.label}: {item.reason}" for item in found.skipped]
    if found.report is not None:
        notes += [f"skipped: {item.label}: {item.reason}" for item in found.report.skipped]
    return [printable(line) for line in notes]


def _kernel_line(verdict: Verdict, exposed: Exposed) -> str:
    word = programs_cell(verdict)
    why = programs_reason(exposed)
    names = f" on {', '.join(verdict.architectures)}" if verdict.architectures else ""
    return f"  {word:16}  {verdict.defect.slug}: {verdict.state.value}{names}; {why}"


def kernel_lines(target: TargetReport) -> list[str]:
    """Returns lines about what a kernel means for the programs: its hits and refusals, and its defects that the
    programs do not meet.
    """
    lines = [
        _kernel_line(item, item.exposed)
        for one in (Meaning.HIT, Meaning.REFUSED, Meaning.POSSIBLE_HIT, Meaning.POSSIBLY_REFUSED)
        for item in target.verdicts
        if item.exposed is not None and meaning(item) is one
    ]
    missed = [item.defect.slug for item in target.verdicts if meaning(item) is Meaning.NOT_REACHED]
    if missed:
        lines.append(f"  affected, and your programs do not reach it: {', '.join(dict.fromkeys(missed))}")
    return [printable(line) for line in lines or ["  nothing that these programs meet"]]


def matrix_rows(found: ExposureReport) -> tuple[list[tuple[str, ...]], list[str]]:
    """Returns the table of programs and kernels, headings first, and the legend for numbered kernels."""
    targets = found.report.targets if found.report is not None else ()
    numbered = len(targets) > _SIDE_BY_SIDE
    titles = [str(number) if numbered else item.name for number, item in enumerate(targets, 1)]
    legend = [f"  {number}  {item.name}" for number, item in enumerate(targets, 1)] if numbered else []
    words = {Cell.GOOD: "good", Cell.POSSIBLE: "possible", Cell.REFUSED: "REFUSED", Cell.HIT: "HIT"}
    several = len(found.sets) > 1
    rows = [
        (f"{row.object}: {row.program}" if several else row.program, *(words[cell] for cell in row.cells))
        for row in found.rows
    ]
    table = [("PROGRAM", *titles), *rows]
    return [tuple(map(printable, row)) for row in table], [printable(line) for line in legend]


def branch_rows(oldest: Sequence[Oldest]) -> list[tuple[str, ...]]:
    """Returns the table of branches, headings first."""
    rows: list[tuple[str, ...]] = [BRANCH_COLUMNS]
    for item in oldest:
        unknown = [f"{slug} (not known)" for slug in item.unknown]
        rows.append(
            (
                f"{item.branch}.y",
                item.without_hit or "none known",
                item.without_possible or "none known",
                ", ".join((*item.open, *unknown)),
            )
        )
    return rows
