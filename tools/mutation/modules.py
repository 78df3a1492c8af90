"""Imports modules with a mark before each statement, which shows the tests that run it. Applies changes to modules in a
running process.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from mmap import mmap
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from tools.mutation.operators import Mutant

__all__ = ["Marks", "MutationError", "apply_mutant", "module_name"]


class MutationError(Exception):
    """Raised if a change cannot be made in a running process."""


def module_name(path: Path) -> str:
    """Returns the name by which a file of the checkout is imported."""
    parts = path.with_suffix("").parts
    return ".".join(("tailcall_audit", *parts))


class _Marking(ast.NodeTransformer):
    """Inserts ``__seen__[N] = 1`` before each statement of a function. `numbers` maps (line, column) to N."""

    def __init__(self, first: int) -> None:
        self.numbers: dict[tuple[int, int], int] = {}
        self._next = first

    def _marked(self, body: list[ast.stmt]) -> list[ast.stmt]:
        marked: list[ast.stmt] = []
        for statement in body:
            mark = ast.parse(f"__seen__[{self._next}] = 1").body[0]
            for node in ast.walk(mark):
                ast.copy_location(node, statement)
            self.numbers[statement.lineno, statement.col_offset] = self._next
            self._next += 1
            for name in ("body", "orelse", "finalbody"):
                inner = getattr(statement, name, None)
                if inner and not isinstance(statement, ast.ClassDef):
                    setattr(statement, name, self._marked(inner))
            for handler in getattr(statement, "handlers", []):
                handler.body = self._marked(handler.body)
            marked += [mark, statement]
        return marked

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Marks the statements of a function and of functions inside it."""
        node.body = self._marked(node.body)
        return node


class Marks(MetaPathFinder, Loader):
    """Imports files with marks. The marks are in memory that forked processes share."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._trees: dict[str, tuple[Path, ast.Module]] = {}
        self._numbers: dict[tuple[Path, int, int], int] = {}
        for path in paths:
            marking = _Marking(len(self._numbers))
            tree = marking.visit(ast.parse(path.read_text(encoding="utf-8")))
            self._trees[module_name(path)] = (path, tree)
            self._numbers |= {(path, *place): number for place, number in marking.numbers.items()}
        self._seen = mmap(-1, max(len(self._numbers), 1))

    def number(self, path: Path, place: tuple[int, int]) -> int | None:
        """Returns the number of a statement's mark; None outside functions."""
        return self._numbers.get((path, *place))

    def clear(self) -> None:
        """Clears all marks."""
        self._seen[:] = bytes(len(self._seen))

    def seen(self) -> frozenset[int]:
        """Returns the numbers of the statements that ran since `clear`."""
        return frozenset(number for number, value in enumerate(self._seen[:]) if value)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds a module if it is one of the files."""
        if fullname not in self._trees:
            return None
        file = self._trees[fullname][0]
        return importlib.util.spec_from_file_location(fullname, file.resolve(), loader=self)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the file with its marks."""
        path, tree = self._trees[module.__name__]
        vars(module)["__seen__"] = self._seen
        exec(compile(tree, str(path), "exec"), vars(module))  # noqa: S102 - the checkout's own file


def _function(module: ModuleType, name: str) -> FunctionType:
    found: object = module
    for part in name.split("."):
        found = vars(found)[part]
    if isinstance(found, staticmethod | classmethod):
        found = found.__func__
    elif isinstance(found, property):
        found = found.fget
    elif isinstance(found, cached_property):
        found = found.func
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    if not isinstance(found, FunctionType):
        raise MutationError(f"{module.__name__}.{name} is no function")
    return found


def _code(code: CodeType, function: FunctionType) -> CodeType:
    """Returns the changed code of a function from the code of its module."""
    wanted = function.__code__
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if (constant.co_qualname, constant.co_firstlineno) == (wanted.co_qualname, wanted.co_firstlineno):
                return constant
            if wanted.co_qualname.startswith(f"{constant.co_qualname}."):
                return _code(constant, function)
    raise MutationError(f"{wanted.co_qualname} is not in the changed source")


def _assigned(source: str) -> set[str]:
    names: set[str] = set()
    for statement in ast.parse(source).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def _replace_constants(module: ModuleType, values: Mapping[str, object]) -> None:
    """Replaces a module's constants in the module and in all modules that imported them."""
    for name, value in values.items():
        old = vars(module)[name]
        for other in list(sys.modules.values()):
            if other.__name__.startswith(("tailcall_audit", "tests")):
                for key, item in list(vars(other).items()):
                    if item is old and not isinstance(old, bool | int | None):
                        setattr(other, key, value)
        setattr(module, name, value)


def apply_mutant(path: Path, mutant: Mutant) -> None:
    """Makes a change in the modules of this process. Raises MutationError if that is not possible, and any exception of
    the changed module.
    """
    module = sys.modules[module_name(path)]
    try:
        code = compile(mutant.source, str(path), "exec")
    except SyntaxError as error:
        raise MutationError(str(error)) from error
    if mutant.function:
        function = _function(module, mutant.function)
        try:
            function.__code__ = _code(code, function)
        except ValueError as error:
            raise MutationError(str(error)) from error
        return
    namespace = {"__name__": module.__name__, "__file__": module.__file__, "__package__": module.__package__}
    # Dataclasses look up their module by name, so the changed module has the name of the original.
    exec(code, namespace)  # noqa: S102 - the checkout's own file, changed
    _replace_constants(module, {name: namespace[name] for name in _assigned(mutant.source) if name in namespace})
