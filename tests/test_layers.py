"""Imports go downwards only, and what is loaded goes in no circle: `LAYERS` is the order."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

_ROOT = Path(__file__).resolve().parent.parent
_PREFIX = "tailcall_audit."

LAYERS = (
    ("analyzer.app",),
    ("analyzer.live",),
    ("analyzer.plan",),
    ("analyzer.pipeline", "analyzer.exposing"),
    ("analyzer.asking",),
    ("analyzer.fleet",),
    ("analyzer.judging",),
    ("analyzer.targets", "analyzer.worker", "analyzer.limits", "analyzer.selection", "analyzer.alike"),
    ("analyzer.formats",),
    ("analyzer.gates",),
    ("analyzer.survey",),
    ("analyzer.exposure",),
    ("analyzer.policy",),
    ("analyzer.readers",),
    ("analyzer.subjects",),
    ("analyzer.programs",),
    ("analyzer.web",),
    ("analyzer.emulator",),
    ("analyzer.kernelfiles",),
    ("analyzer.model",),
    ("analyzer.exposure.types",),
    ("analyzer.catalog",),
    ("analyzer.libraries", "analyzer.paths"),
    ("analyzer.evidence",),
    ("analyzer", "analyzer.architecture", "analyzer.basis", "analyzer.errors", "analyzer.text", "analyzer.version"),
    ("probes.guest",),
    ("probes.runner",),
    ("probes.guest.frames", "probes.observe"),
    ("probes.defects",),
    ("probes.kernel.programs",),
    ("probes.probe",),
    ("probes.kernel",),
    ("probes", "probes.private_folder", "probes.processes", "probes.reading", "probes.records", "probes.writing"),
)
"""The highest layer first. A module is in the layer with the longest name that it is or begins with (the packages at
the top are only themselves); it imports what is in its own layer or below. Nothing in `probes` can import what is in
`analyzer`, because a guest has the probes only.
"""
_DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}


class Import(NamedTuple):
    """One import: the module and line that it stands in, the module that it names, and whether only a type checker sees
    it.
    """

    module: str
    line: int
    target: str
    for_types: bool


def _layer(module: str) -> str:
    """Returns the name of the layer's entry that a module is in; raises LookupError for a module of none."""
    parts = module.split(".")
    for length in range(len(parts), 0 if len(parts) == 1 else 1, -1):
        if (name := ".".join(parts[:length])) in _DEPTH:
            return name
    raise LookupError(f"{module}: in no layer; add it to LAYERS")


def _modules() -> dict[str, str]:
    """Returns the source of every module, by its name below `tailcall_audit`."""
    found = {}
    for folder in ("analyzer", "probes"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            parts = path.relative_to(_ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return found


def _named(node: ast.AST, known: Mapping[str, str]) -> Iterator[str]:
    """Yields the modules that a statement imports, and those whose names are handed to `import_module`."""
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole.removeprefix(_PREFIX) in known else node.module
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
        yield node.value.rstrip(".")


def imports_of(module: str, source: str, known: Mapping[str, str]) -> Iterator[Import]:
    """Yields every import in a module, wherever it stands: in functions and for type checkers too."""
    tree = ast.parse(source)
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for_types = {id(node) for guard in guards for statement in guard.body for node in ast.walk(statement)}
    for node in ast.walk(tree):
        for name in _named(node, known):
            target = name.removeprefix(_PREFIX)
            if name.startswith(_PREFIX) and target.partition(".")[0] in ("analyzer", "probes"):
                yield Import(module, getattr(node, "lineno", 0), target, id(node) in for_types)


def test_a_new_folder_has_no_layer_until_it_is_given_one() -> None:
    with pytest.raises(LookupError, match=r"analyzer\.new\.module: in no layer; add it to LAYERS"):
        _layer("analyzer.new.module")


def _upward(found: Import) -> bool:
    return _DEPTH[_layer(found.target)] < _DEPTH[_layer(found.module)]


def test_no_module_imports_upwards() -> None:
    known = _modules()
    assert len(known) > 200
    found = [item for module, source in known.items() for item in imports_of(module, source, known)]
    assert len(found) > 1000
    assert [f"{item.module}:{item.line} imports {item.target}" for item in found if _upward(item)] == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("analyzer.kernelfiles.kconfig", "from tailcall_audit.analyzer.subjects.host import read_host"),
        ("analyzer.subjects.package", "def f():\n    from tailcall_audit.analyzer.readers import changelog"),
        ("analyzer.readers.source", "import tailcall_audit.analyzer.policy.verdict"),
        ("analyzer.catalog.load", "if TYPE_CHECKING:\n    from tailcall_audit.analyzer.model import Evidence"),
        ("analyzer.policy.verdict", "import_module(f'tailcall_audit.analyzer.app.{name}')"),
        ("probes.kernel.bpf", "from tailcall_audit.analyzer.errors import AuditError"),
        ("probes.runner", "from tailcall_audit.probes.guest.qemu import Qemu"),
    ],
)
def test_an_upward_import_is_seen(module: str, line: str) -> None:
    found = list(imports_of(module, line, _modules()))
    assert [item.module for item in found] == [module]
    assert _upward(found[0])


def _circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns the modules that import each other in a circle, and those between two circles; nothing if there is
    none.
    """
    left = set(graph)
    while True:
        imported = {target for name in left for target in graph[name]}
        inside = {name for name in left & imported if graph[name] & left}
        if inside == left:
            return sorted(left)
        left = inside


def test_no_modules_load_each_other() -> None:
    known = _modules()
    graph = {
        module: {item.target for item in imports_of(module, source, known) if not item.for_types} - {module}
        for module, source in known.items()
    }
    assert _circle(graph) == []


def test_a_circle_is_seen() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
