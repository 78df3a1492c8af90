"""Makes the changes of a mutation run: finds places in a module's syntax tree and writes the changes into its text."""

from __future__ import annotations

import ast
import copy
import itertools
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["ENUMS", "Mutant", "mutants"]

ENUMS = {
    "Presence": {"UNKNOWN": "ABSENT", "ABSENT": "PRESENT", "PRESENT": "UNKNOWN"},
    "State": {"UNKNOWN": "NOT_AFFECTED", "NOT_AFFECTED": "FIXED", "FIXED": "AFFECTED", "AFFECTED": "UNKNOWN"},
    "Confidence": {"HIGH": "MEDIUM", "MEDIUM": "LOW", "LOW": "HIGH"},
    "Claim": {"SIMILAR": "PRESENT", "DOUBTFUL": "SIMILAR", "PRESENT": "ABSENT", "ABSENT": "PRESENT"},
    "PlaceState": {"UNSEEN": "THERE", "ODD": "THERE", "LACKING": "THERE", "THERE": "LACKING"},
    "Outcome": {
        "ACCEPTED": "REFUSED",
        "REFUSED": "ACCEPTED",
        "NULL_DEREFERENCE": "REFUSED",
        "BUSY": "ACCEPTED",
        "STOPS": "LOOPS",
        "LOOPS": "STOPS",
        "MISCOUNTS": "STOPS",
        "DONE": "NOT_DONE",
        "NOT_DONE": "DONE",
        "BUG": "NOT_DONE",
    },
}
"""Members of the enumerations that decide verdicts, and the replacement of each."""

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """One change: the line, the text before and after, the complete changed source, its statement, and its function.

    `statement` is the position (line, column) of the innermost statement. `function` is the qualified name of the
    outermost function that contains it, or "".
    """

    line: int
    before: str
    after: str
    source: str
    statement: tuple[int, int]
    function: str


class _Place(NamedTuple):
    node: ast.expr | ast.stmt
    statement: ast.stmt
    function: str
    is_condition: bool = False


def _is_text(statement: ast.stmt) -> bool:
    """Returns True for a docstring."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _decides_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.Assert | ast.Pass) or _is_text(statement):
        return True
    if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
        return True
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """Yields the expressions of a statement, except those in inner statements, annotations and formatted strings."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "args") and not isinstance(node, ast.Call):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.expr):
                yield child
                yield from _expressions(child)
            elif isinstance(child, ast.comprehension | ast.keyword | ast.match_case | ast.withitem):
                yield from _expressions(child)


def _conditions(statement: ast.stmt) -> Iterator[ast.expr]:
    if isinstance(statement, ast.If | ast.While):
        yield statement.test
    for expression in _expressions(statement):
        if isinstance(expression, ast.IfExp):
            yield expression.test
        for comprehension in getattr(expression, "generators", []):
            yield from comprehension.ifs


def _places(body: list[ast.stmt], scope: str = "", in_function: bool = False) -> Iterator[_Place]:
    """Yields the places of a module or function. `scope` is the name of the class or outermost function that contains
    them.
    """
    for statement in body:
        if isinstance(statement, ast.FunctionDef):
            yield from _places(statement.body, scope if in_function else f"{scope}.{statement.name}".strip("."), True)
            continue
        if isinstance(statement, ast.ClassDef):
            # Statements in the body of a class run once, at import, so a change of them cannot be applied later.
            functions: list[ast.stmt] = [item for item in statement.body if isinstance(item, ast.FunctionDef)]
            yield from _places(functions, scope if in_function else statement.name, in_function)
            continue
        if _decides_nothing(statement):
            continue
        function = scope if in_function else ""
        yield _Place(statement, statement, function)
        if isinstance(statement, ast.Raise):
            continue  # what an error says decides nothing
        conditions = list(_conditions(statement))
        for expression in _expressions(statement):
            yield _Place(expression, statement, function, any(expression is item for item in conditions))
        for name in ("body", "orelse", "finalbody"):
            yield from _places(getattr(statement, name, []), scope, in_function)
        for handler in getattr(statement, "handlers", []):
            yield from _places(handler.body, scope, in_function)


def _without(items: list[ast.expr]) -> Iterator[list[ast.expr]]:
    for index in range(len(items)):
        yield items[:index] + items[index + 1 :]


def _changed_expression(node: ast.expr, at_top: bool) -> Iterator[ast.expr]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
    elif isinstance(node, ast.Tuple) and at_top and isinstance(node.ctx, ast.Load):
        for values in _without(node.elts):
            yield ast.Tuple(values, node.ctx)
    else:
        yield from _changed_operator(node)
        yield from _changed_name(node)


def _changed_operator(node: ast.expr) -> Iterator[ast.expr]:
    new = copy.copy(node)
    if isinstance(node, ast.Compare) and isinstance(new, ast.Compare):
        if type(node.ops[0]) in _COMPARISONS:
            new.ops = [_COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
            yield new
    elif isinstance(node, ast.BoolOp) and isinstance(new, ast.BoolOp):
        new.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield new
        for values in _without(node.values):
            yield ast.BoolOp(node.op, values) if len(values) > 1 else values[0]
    elif isinstance(node, ast.BinOp) and isinstance(new, ast.BinOp) and type(node.op) in _ARITHMETIC:
        new.op = _ARITHMETIC[type(node.op)]()
        yield new


def _changed_name(node: ast.expr) -> Iterator[ast.expr]:
    new = copy.copy(node)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and isinstance(new, ast.Attribute):
        other = ENUMS.get(node.value.id, {}).get(node.attr)
        if other:
            new.attr = other
            yield new
    elif isinstance(node, ast.Call) and isinstance(new, ast.Call) and isinstance(node.func, ast.Name):
        other = _CALLS.get(node.func.id)
        if other:
            new.func = ast.Name(other)
            yield new


def _changed(place: _Place) -> Iterator[str]:
    """Yields the replacements for the text of a place."""
    node = place.node
    if isinstance(node, ast.expr):
        for expression in _changed_expression(node, not place.function):
            yield f"({ast.unparse(expression)})"
        if place.is_condition and isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr):
            yield f"(not ({ast.unparse(node)}))"
        return
    if not place.function:
        return
    if isinstance(node, ast.Continue | ast.Break):
        yield "break" if isinstance(node, ast.Continue) else "continue"
    elif not isinstance(node, ast.Return) and not _names(node):
        yield "pass"


def _names(statement: ast.stmt) -> bool:
    """Returns True for an assignment of a name: without it the code raises an error, which any test detects."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(targets[0], ast.Name | ast.Tuple)


class _Text:
    """A source and the offsets of its lines in bytes, as a syntax tree counts."""

    def __init__(self, source: str) -> None:
        self.data = source.encode()
        self.starts = [0, *itertools.accumulate(len(line) for line in self.data.splitlines(keepends=True))]

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Returns the offsets of a node's start and end."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset


def mutants(source: str) -> Iterator[Mutant]:
    """Yields every change of a module's source, in order. A few do not compile, such as a `break` outside a loop."""
    text = _Text(source)
    for place in _places(ast.parse(source).body):
        start, end = text.span(place.node)
        before = text.data[start:end].decode()
        if before.startswith("elif"):
            continue
        for after in _changed(place):
            changed = (text.data[:start] + after.encode() + text.data[end:]).decode()
            statement = (place.statement.lineno, place.statement.col_offset)
            yield Mutant(place.node.lineno, before, after, changed, statement, place.function)
