"""No module has state that changes while the tool runs: what a call needs is handed to it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "analyzer/exposure/facts/registry.py": "the facts, entered by @named when their modules are loaded",
    "analyzer/catalog/lint_branches.py": "the rules, entered by a decorator when the module is loaded",
    "analyzer/catalog/lint_files.py": "the same",
    "analyzer/kernelfiles/isa/x86_64.py": "names of registers, entered by the loop below it",
    "probes/kernel/btf_writer.py": "a cache: a guest would have to load functools",
    "probes/kernel/verifier.py": "one buffer, which is never freed: a new one would have to be cleared",
    "probes/kernel/programs.py": "the controls that this process has seen to be healthy, on the one kernel that it has",
}
"""Modules with a container that begins empty, and what fills it."""


def changing(source: str) -> list[str]:
    """The names that a module assigns from functions by `global`, and its containers that begin empty."""
    tree = ast.parse(source)
    found = [name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names]
    for node in tree.body:
        target = (
            node.targets[0] if isinstance(node, ast.Assign) else node.target if isinstance(node, ast.AnnAssign) else 0
        )
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        empty = (isinstance(value, ast.Dict) and not value.keys) or (isinstance(value, ast.List) and not value.elts)
        made = isinstance(value, ast.Call) and not value.args and not value.keywords
        named = (
            made
            and isinstance(value, ast.Call)
            and ast.unparse(value.func) in ("set", "dict", "list", "Counter", "deque")
        )
        if isinstance(target, ast.Name) and target.id != "__all__" and (empty or named):
            found.append(target.id)
    return found


def test_only_registers_and_caches_begin_empty() -> None:
    modules = [path for folder in ("analyzer", "probes") for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 300
    found = {str(path.relative_to(ROOT)) for path in modules if changing(path.read_text(encoding="utf-8"))}
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "source",
    [
        "_OPTIONS: dict[str, str] = {}",
        "SEEN = set()",
        "_known = 0\ndef f() -> None:\n    global _known\n    _known = 1",
    ],
)
def test_state_is_seen(source: str) -> None:
    assert changing(source)


@pytest.mark.parametrize("source", ["__all__: list[str] = []", "_NAMES = {'a': 1}", "def f() -> None:\n    found = []"])
def test_constants_are_no_state(source: str) -> None:
    assert changing(source) == []
