"""A plan as a shell script: git commands in a branch of their own, which stop at the first conflict. It is for the user
to run.
"""

from __future__ import annotations

import shlex

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.plan.lines import mends, source_name
from tailcall_audit.analyzer.plan.types import Outcome, Plan, Step, short
from tailcall_audit.analyzer.text import printable

__all__ = ["render"]

_FUNCTIONS = """\
stop() {
    echo "plan: $*" >&2
    exit 1
}
have() {
    for commit in "$@"; do
        git cat-file -e "$commit^{commit}" 2>/dev/null || return 1
    done
}
need() {
    have "$1" || stop "commit $1 is not in this repository: $2"
}
pick() {
    git cherry-pick -x "$1" || stop "stopped at $1: resolve it, run git cherry-pick --continue, then the rest of this script"
}"""


def _comment(text: str) -> str:
    return f"# {printable(text)}"


def _step(number: int, step: Step) -> list[str]:
    lines = ["", _comment(f"{number}. {step.subject}"), _comment(f"   {source_name(step)}; {mends(step)}")]
    lines += [_comment(f"   conflicts in {conflict}") for conflict in step.conflicts]
    lines += [_comment(f"   {note}") for note in step.notes]
    lines += [_comment(f"   afterwards: {text}") for text in step.changes]
    if step.outcome is Outcome.PRESENT:
        return [*lines, _comment(f"   already there: {short(step.commit)} is not picked")]
    if step.outcome is Outcome.OBJECT_MISSING:
        lines.append(_comment("   not tried: its object was not there"))
    return [*lines, f"pick {shlex.quote(step.commit)}"]


def render(plan: Plan, catalog: Catalog) -> str:
    """Returns the script; raises AuditError for a tree without git, where there is nothing to pick onto."""
    head = plan.identity.get("commit")
    if head is None:
        raise AuditError("--format script is for a git repository, and this tree has none: take table, json or quilt")
    lines = [
        "#!/bin/sh",
        _comment(f"Made by tailcall-audit plan for {plan.name} at {short(head)}, catalogue of {catalog.date}."),
        _comment(
            "Run it in that repository, with nothing uncommitted. It makes a branch and stops at the first conflict."
        ),
        "set -eu",
        "",
        _FUNCTIONS,
        "",
        'test -z "$(git status --porcelain --untracked-files=no)" || stop "there are uncommitted changes"',
    ]
    picked = [step for step in plan.steps if step.outcome is not Outcome.PRESENT]
    for place, refs in plan.lenders:
        names = " ".join(shlex.quote(name) for name in refs)
        wanted = " ".join(shlex.quote(step.commit) for step in picked)
        if names and wanted:
            lines.append(f"have {wanted} || git fetch --no-tags -- {shlex.quote(place)} {names}")
    lines += [
        f"need {shlex.quote(step.commit)} {shlex.quote(step.fetch or 'it was when the plan was made')}"
        for step in picked
    ]
    lines.append(f"git checkout -b tailcall-audit-{short(head)} {head}")
    for number, step in enumerate(plan.steps, 1):
        lines += _step(number, step)
    if plan.result.tree is not None:
        lines += [
            "",
            _comment("The expected tree: another one means that git merged something differently."),
            f'test "$(git rev-parse "HEAD^{{tree}}")" = {plan.result.tree} || stop "the tree is not the expected one: audit it"',
        ]
    return "\n".join([*lines, ""])
