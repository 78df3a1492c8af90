"""A plan as plain text, for pipes and files."""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.plan.lines import COLUMNS, cells, details, ending, heading, open_lines, outcome_lines
from tailcall_audit.analyzer.plan.types import Plan

__all__ = ["render"]


def render(plan: Plan, _: Catalog) -> str:
    """Returns the plan as text."""
    out = [heading(plan), ""]
    if plan.steps:
        out += [*aligned([COLUMNS, *(cells(number, step) for number, step in enumerate(plan.steps, 1))]), ""]
        more = [line for number, step in enumerate(plan.steps, 1) for line in details(number, step)]
        out += [*more, ""] if more else []
    return "\n".join([*out, *outcome_lines(plan), *open_lines(plan), *ending(plan), ""])
