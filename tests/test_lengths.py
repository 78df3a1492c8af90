"""Functions are short: under 50 lines, docstrings not counted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).resolve().parent.parent
_PLACES = ("analyzer", "probes", "bench", "tools")
_LIMIT = 50


class Length(NamedTuple):
    """A function, the line that it begins in, and how many lines it has without its docstring."""

    name: str
    line: int
    lines: int


def lengths(source: str) -> Iterator[Length]:
    """Yields every function of a module, those inside of others too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            yield Length(node.name, node.lineno, (node.end_lineno or 0) - node.lineno + 1 - docstring)


def test_no_function_is_long() -> None:
    paths = [path for place in _PLACES for path in sorted((_ROOT / place).rglob("*.py"))]
    found = [(path, item) for path in paths for item in lengths(path.read_text("utf-8"))]
    assert len(found) > 2000
    long = [
        f"{path.relative_to(_ROOT)}:{item.line} {item.name}(): {item.lines}"
        for path, item in found
        if item.lines > _LIMIT
    ]
    assert long == []


def test_a_docstring_is_not_counted_and_all_else_is() -> None:
    body = "    x = 1\n" * 48
    documented = f'def f(\n    a: int,\n) -> None:\n    """A.\n\n    B.\n    """\n{body}'
    assert [item.lines for item in lengths(documented)] == [51]
    assert [
        item.lines
        for item in lengths("class C:\n    def f(self): return 1\n    async def g(self):\n        return 2\n")
    ] == [1, 2]
