"""A plan as a folder for quilt: ``series``, and a patch for each step with the headers of DEP-3 (Debian's patch tagging
guidelines).
"""

from __future__ import annotations

import re

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.plan.lines import mends, outcome_words
from tailcall_audit.analyzer.plan.types import MAINLINE, Outcome, Plan, Step, short
from tailcall_audit.analyzer.text import printable

__all__ = ["render"]

_NO_NAME = re.compile(r"[^A-Za-z0-9]+")
_LONGEST = 52
"""The characters of a file's name, as `git format-patch` cuts it."""
_LIKE_A_PATCH = re.compile(r"^[ \tX]*(?:---|\+\+\+|\*\*\*|@@|diff |Index:|Prereq:|={10,}|\d+(?:,\d+)?[acd]\d)")
"""The lines that patch(1) takes for the beginning of a patch, indented too: a message must not contain one."""


def _name(number: int, step: Step) -> str:
    return f"{number:04}-{_NO_NAME.sub('-', step.subject).strip('-')[:_LONGEST].strip('-')}.patch"


def _text(message: str) -> list[str]:
    """Returns the lines of a message that stand behind the description's first one."""
    body = message.lstrip().split("\n")[1:]
    kept = [printable(line.rstrip()) for line in body]
    while kept and not kept[0]:
        kept.pop(0)
    while kept and not kept[-1]:
        kept.pop()
    return [f" | {line}" if _LIKE_A_PATCH.match(line) else f" {line or '.'}" for line in kept]


def _header(step: Step, catalog: Catalog) -> list[str]:
    kind = "upstream" if step.source == MAINLINE else "backport"
    of = "" if step.source == MAINLINE else f" (of {step.source}.y)"
    commit = catalog.commits.get(short(step.upstream))
    lines = [f"Description: {printable(step.subject)}", *_text(step.message)]
    lines.append(f"Author: {printable(step.author)}" if step.author else "Author: unknown")
    lines.append(f"Origin: {kind}, commit:{step.commit}{of}")
    lines += [f"Bug-CVE: {name}" for name in step.cves]
    if commit is not None:
        lines.append(f"Applied-Upstream: {commit.first_release}, commit:{step.upstream}")
    lines.append(f"X-Tailcall-Audit: {outcome_words(step.outcome)}; {printable(mends(step))}")
    lines += [f"X-Conflicts: {printable(str(conflict))}" for conflict in step.conflicts]
    return lines


def render(plan: Plan, catalog: Catalog) -> dict[str, bytes]:
    """Returns the files. The patch of a step that applies is its change in this tree; that of one that conflicts is the
    commit's own.
    """
    files: dict[str, bytes] = {}
    series = [f"# made by tailcall-audit plan for {printable(plan.name)}"]
    for number, step in enumerate(plan.steps, 1):
        if step.outcome is Outcome.PRESENT:
            series.append(f"# already there: {short(step.commit)} {printable(step.subject)}")
            continue
        if step.patch is None:
            series.append(f"# {outcome_words(step.outcome)}: {short(step.commit)} {printable(step.subject)}")
            series += [f"#   {printable(step.fetch)}"] if step.fetch else []
            continue
        if step.outcome is Outcome.CONFLICTS:
            series.append(f"# conflicts: {', '.join(printable(str(item)) for item in step.conflicts)}")
        name = _name(number, step)
        files[name] = "\n".join([*_header(step, catalog), "---", ""]).encode() + step.patch
        series.append(name)
    files["series"] = "\n".join([*series, ""]).encode()
    return files
