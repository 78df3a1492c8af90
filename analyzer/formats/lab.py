"""Many kernels of a lab, a column each: the prediction for each defect, and what the probes saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, product
from string import ascii_uppercase

from tailcall_audit.analyzer.formats.lines import contradictions, skipped, waivers
from tailcall_audit.analyzer.formats.matrix import CELLS
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Agreement, Report, TargetReport
from tailcall_audit.analyzer.text import printable

__all__ = ["render", "render_cells"]

LAYOUT = True

_MARKS = {Agreement.CONFIRMED: "", Agreement.SETTLED: "*", Agreement.CONTRADICTED: "!!", Agreement.NOT_OBSERVED: "?"}


def _lab_cell(target: TargetReport, slug: str) -> str:
    item = next((item for item in target.verdicts if item.defect.slug == slug), None)
    if item is None:
        return ""
    if item.observation is None:
        return f"({item.state.value})"
    predicted = CELLS[item.observation.predicted]
    mark = _MARKS[item.observation.agreement]
    if item.observation.agreement in (Agreement.CONTRADICTED, Agreement.SETTLED):
        return f"{predicted} {mark} {item.observation.state.value}"
    return f"{predicted} {mark}".strip()


_LEGEND = "each cell: the prediction, then the probe: (nothing) confirmed, !! contradicted, * prediction was unknown and the probe decided, ? the probe could not decide (reason in --json); - not-affected"


def render(report: Report, _: View) -> str:
    """Returns the report of a lab as text. A defect is a row, a kernel is a column."""
    return render_cells(report, _lab_cell, _LEGEND)


def render_cells(report: Report, cell: Callable[[TargetReport, str], str], legend: str) -> str:
    """Returns a lab's report as text. `cell` makes the cell of a kernel and a defect's slug, `legend` explains the
    cells.
    """
    slugs = {item.defect.slug: item.defect for target in report.targets for item in target.verdicts if item.observation}
    letters = list(islice(_letters(), len(report.targets)))
    out: list[str] = [
        f"{letter}  {printable(target.name)}{_architecture(target, report)}"
        for letter, target in zip(letters, report.targets, strict=True)
    ]
    table = [["#", "DEFECT", *letters]]
    for slug, defect in slugs.items():
        cells = [cell(target, slug) + _waived(target, slug) for target in report.targets]
        table.append([str(defect.pitfall or ""), slug, *cells])
    seen = [item.observation for target in report.targets for item in target.verdicts if item.observation is not None]
    counts = ", ".join(
        f"{sum(item.agreement is agreement for item in seen)} {agreement.value}" for agreement in Agreement
    )
    out += ["", *aligned(table), ""]
    for letter, target in zip(letters, report.targets, strict=True):
        out += [f"{letter}: CONTRADICTED {text}" for text in contradictions(target.verdicts)]
        out += [f"{letter}: {text}" for text in waivers(target.verdicts)]
    out += skipped(report)
    out.append(legend)
    return "\n".join([*out, counts, ""])


def _waived(target: TargetReport, slug: str) -> str:
    """Returns the mark of a defect that a waiver accepts on a kernel."""
    return " (waived)" if any(item.waived for item in target.verdicts if item.defect.slug == slug) else ""


def _architecture(target: TargetReport, report: Report) -> str:
    """Returns the architecture to show for a kernel; "" if all kernels have the same one."""
    named = {item.identity.get("architecture") for item in report.targets}
    return f"  {target.identity.get('architecture') or 'of no known architecture'}" if len(named) > 1 else ""


def _letters() -> Iterator[str]:
    """A, B, …, Z, AA, AB, …"""
    for size in range(1, 4):
        yield from ("".join(letters) for letters in product(ascii_uppercase, repeat=size))
