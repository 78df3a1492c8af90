"""Renders the kernels of a lab as a table, with a column for each: the prediction, the result of the emulator, and the
result of the guest.
"""

from __future__ import annotations

from tailcall_audit.analyzer.formats.lab import render_cells
from tailcall_audit.analyzer.formats.matrix import CELLS
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import ObservationState, Report, TargetReport
from tailcall_audit.analyzer.policy.emulated import emulated

__all__ = ["render"]

LAYOUT = True

_WORDS = {ObservationState.PRESENT: "present", ObservationState.ABSENT: "absent", ObservationState.COULD_NOT_RUN: "?"}
_LEGEND = (
    "each cell: the prediction, what functions of the image show in the emulator, what the guest showed;"
    " ? no answer; - not-affected"
)


def _cell(target: TargetReport, slug: str) -> str:
    item = next((item for item in target.verdicts if item.defect.slug == slug), None)
    if item is None:
        return ""
    observation = item.observation
    predicted = item.state if observation is None else observation.predicted
    seen = ObservationState.COULD_NOT_RUN if observation is None else observation.state
    return f"{CELLS[predicted]}, {_WORDS[emulated(item)]}, {_WORDS[seen]}"


def render(report: Report, _: View) -> str:
    """Returns the report of a lab as text. A defect is a row, a kernel is a column."""
    return render_cells(report, _cell, _LEGEND)
