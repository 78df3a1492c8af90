"""Shared by the text formats of a plan: the cells of its table, and the words around it."""

from __future__ import annotations

from tailcall_audit.analyzer.plan.types import MAINLINE, Outcome, Plan, Role, Step, short
from tailcall_audit.analyzer.text import printable

__all__ = [
    "COLUMNS",
    "cells",
    "details",
    "ending",
    "heading",
    "mends",
    "open_lines",
    "outcome_lines",
    "outcome_words",
    "source_name",
]

COLUMNS = ("#", "COMMIT", "FROM", "OUTCOME", "FOR", "SUBJECT")
_WORDS = {
    Outcome.CLEAN: "applies",
    Outcome.RENAMES: "applies, with renames",
    Outcome.CONFLICTS: "CONFLICTS",
    Outcome.PRESENT: "already there",
    Outcome.OBJECT_MISSING: "object missing",
    Outcome.UNTESTED: "untested",
}


def outcome_words(outcome: Outcome) -> str:
    """An outcome in words."""
    return _WORDS[outcome]


def source_name(step: Step) -> str:
    """Returns the owner of the commit that a step picks: ``mainline``, ``6.1.y``."""
    return step.source if step.source == MAINLINE else f"{step.source}.y"


def mends(step: Step) -> str:
    """Returns the purpose of a step: the defects that it mends, or the commits that need it."""
    if step.defects:
        return ", ".join(step.defects)
    if step.role is Role.PREREQUISITE:
        return f"needed by {', '.join(short(name) for name in step.needed_by)}"
    return f"mends {', '.join(short(name) for name in step.follows)}"


def heading(plan: Plan) -> str:
    """Returns one line that names the tree of the plan."""
    parts = [plan.name]
    if upstream := plan.identity.get("upstream"):
        parts.append(f"upstream {upstream}")
    parts.append(plan.identity.get("architecture") or "every architecture")
    if commit := plan.identity.get("commit"):
        parts.append(f"at {short(commit)}")
    return printable(" · ".join(parts))


def cells(number: int, step: Step) -> tuple[str, ...]:
    """Returns the cells of a step, as `COLUMNS` has them."""
    found = (str(number), short(step.commit), source_name(step), outcome_words(step.outcome), mends(step), step.subject)
    return tuple(printable(cell) for cell in found)


def details(number: int, step: Step) -> list[str]:
    """Returns the remarks on a step that are not in its line."""
    lines = [f"conflicts in {conflict}" for conflict in step.conflicts]
    lines += step.notes
    if step.follows and step.defects:
        lines.append(f"mends what {', '.join(short(name) for name in step.follows)} brings")
    if step.needed_by and step.defects:
        lines.append(f"needed by {', '.join(short(name) for name in step.needed_by)}")
    lines += [f"afterwards: {text}" for text in step.changes]
    if step.fetch is not None and step.outcome in (Outcome.OBJECT_MISSING, Outcome.UNTESTED):
        lines.append(f"to get it: {step.fetch}")
    return [printable(f"{number}: {line}") for line in lines]


def open_lines(plan: Plan) -> list[str]:
    """Returns a line for each defect that the steps leave open."""
    return [printable(f"open: {item.slug}: {item.reason}") for item in plan.result.open]


def outcome_lines(plan: Plan) -> list[str]:
    """Returns what the steps achieve; nothing if they achieve nothing."""
    lines = []
    result = plan.result
    count = sum(step.outcome in (Outcome.CLEAN, Outcome.RENAMES) for step in plan.steps)
    commits = f"{count} commit{'' if count == 1 else 's'}"
    if not plan.steps and not plan.affected:
        lines.append("nothing to mend")
    if result.fixed:
        lines.append(f"after {commits}: predicted fixed by code, not compiled: {', '.join(result.fixed)}")
    return [printable(line) for line in lines]


def ending(plan: Plan) -> list[str]:
    """Returns the state of the tree after the steps, the defects that were not planned for, and the notes."""
    lines = []
    result = plan.result
    if plan.steps and not result.tested:
        lines.append("not every step could be tried")
    if result.tree is not None and plan.steps:
        lines.append(f"the tree is then {result.tree}")
    for left in plan.unknown:
        lines.append(f"unknown, not planned for (--unknown): {left.slug}: {left.reason}")
        lines += [f"  to settle: {left.settle}"] if left.settle else []
    lines += [f"note: {note}" for note in plan.notes]
    return [printable(line) for line in lines]
