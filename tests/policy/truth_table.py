"""An oracle for verdicts: an expression's truth for every way in which what is unknown may turn out.

It uses nothing of the arithmetic under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from tailcall_audit.analyzer.catalog.expression import Expression, Operator
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.model import Presence

__all__ = ["completions", "truth"]


def truth(expression: Expression, there: Mapping[str, bool]) -> bool:
    if expression.operator is Operator.LEAF:
        return there[expression.name]
    parts = [truth(part, there) for part in expression.parts]
    if expression.operator is Operator.NOT:
        return not parts[0]
    return all(parts) if expression.operator is Operator.ALL else any(parts)


def completions(defect: Defect, presences: Mapping[str, Presence]) -> Iterator[dict[str, bool]]:
    """Every way in which what is unknown may turn out."""
    names = (*defect.commits, *defect.capabilities)
    choices = [
        (True, False)
        if presences.get(name, Presence.UNKNOWN) is Presence.UNKNOWN
        else (presences[name] is Presence.PRESENT,)
        for name in names
    ]
    for values in itertools.product(*choices):
        yield dict(zip(names, values, strict=True))
