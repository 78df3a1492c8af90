"""Requirements as any/all/not expressions, evaluated with intervals.

A requirement over kernel options follows Kconfig: ``n``, ``m`` and ``y`` are 0, 1 and 2, "and" is the minimum, "or" the
maximum and "not" is 2 minus the value (Linux Documentation/kbuild/kconfig-language.rst, "Menu dependencies"). An
unknown value is the whole interval, so a requirement is met, excluded or undecided without a rule of its own for each
case. Requirements over commits use the same arithmetic with absent = 0 and present = 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

__all__ = [
    "ABSENT",
    "PRESENT",
    "UNKNOWN",
    "Expression",
    "Interval",
    "Operator",
    "evaluate",
    "leaves",
    "parse_expression",
]

_MAX_DEPTH = 32
"""The catalogue's deepest has 3 levels."""


class Operator(Enum):
    """How the parts of an expression are joined."""

    ALL = "all"
    ANY = "any"
    NOT = "not"
    LEAF = "leaf"


class Expression(NamedTuple):
    """A tree of requirements; a leaf names a commit, a capability or a kernel option."""

    operator: Operator
    name: str = ""
    parts: tuple[Expression, ...] = ()

    def __str__(self) -> str:
        if self.operator is Operator.LEAF:
            return self.name
        if self.operator is Operator.NOT:
            inner = self.parts[0]
            return f"not {inner}" if inner.operator is Operator.LEAF else f"not ({inner})"
        word = " and " if self.operator is Operator.ALL else " or "
        return word.join(f"({part})" if len(part.parts) > 1 else str(part) for part in self.parts)


class Interval(NamedTuple):
    """The range that a value between 0 and 2 is known to be in, and the confidence of the sources (0 to 3)."""

    low: int
    high: int
    confidence: int = 3

    @property
    def met(self) -> bool:
        """Returns True if the value is surely not 0."""
        return self.low > 0

    @property
    def excluded(self) -> bool:
        """Returns True if the value is surely 0."""
        return self.high == 0


ABSENT = Interval(0, 0)
PRESENT = Interval(2, 2)
UNKNOWN = Interval(0, 2, 0)


def parse_expression(data: object, depth: int = _MAX_DEPTH) -> Expression:
    """Builds an expression from its JSON form: a string, or an object with one key ``all``, ``any`` or ``not``.

    Raises ValueError on any other shape, and on one that is nested more than `depth` times.
    """
    if depth < 0:
        raise ValueError(f"an expression that is nested more than {_MAX_DEPTH} times")
    if isinstance(data, str):
        return Expression(Operator.LEAF, data)
    if isinstance(data, dict) and len(data) == 1:
        key, value = next(iter(data.items()))
        if key == "not":
            return Expression(Operator.NOT, parts=(parse_expression(value, depth - 1),))
        if key in ("all", "any") and isinstance(value, list) and value:
            return Expression(Operator(key), parts=tuple(parse_expression(part, depth - 1) for part in value))
    raise ValueError(f"not an expression: {data!r}")


def leaves(expression: Expression | None) -> Iterator[str]:
    """Yields the names in an expression, left to right, repeated ones as often as they stand there."""
    if expression is None:
        return
    if expression.operator is Operator.LEAF:
        yield expression.name
    for part in expression.parts:
        yield from leaves(part)


def evaluate(expression: Expression, value_of: Callable[[str], Interval]) -> Interval:
    """Evaluates an expression; `value_of` gives the interval of each name.

    The confidence is that of the parts that decided: of all where all were needed, of the best where one is enough.
    """
    if expression.operator is Operator.LEAF:
        return value_of(expression.name)
    parts = [evaluate(part, value_of) for part in expression.parts]
    if expression.operator is Operator.NOT:
        return Interval(2 - parts[0].high, 2 - parts[0].low, parts[0].confidence)
    if expression.operator is Operator.ALL:
        low, high = min(part.low for part in parts), min(part.high for part in parts)
        decisive = [part.confidence for part in parts if part.excluded]
    else:
        low, high = max(part.low for part in parts), max(part.high for part in parts)
        decisive = [part.confidence for part in parts if part.met]
    if decisive:
        return Interval(low, high, max(decisive))
    return Interval(low, high, min(part.confidence for part in parts))
