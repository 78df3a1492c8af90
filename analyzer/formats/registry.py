"""Output formats, found by their names: each is a module here with ``render(report, view) -> str``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.model import AuditError

if TYPE_CHECKING:
    from tailcall_audit.analyzer.model import Report

__all__ = ["Format", "View", "find_format", "format_names"]

_PACKAGE = "tailcall_audit.analyzer.formats"


class View(NamedTuple):
    """What the user wants to see: `everything` adds the defects of other architectures, `explain` the evidence."""

    everything: bool = False
    explain: bool = False


class Format(NamedTuple):
    """An output format: its name, and what makes text of a report. The text ends in a line break.

    `pieces` yields the same text in parts, for a report of which not all is in memory as text.
    """

    name: str
    render: Callable[[Report, View], str]
    pieces: Callable[[Report, View], Iterator[str]]


def format_names() -> tuple[str, ...]:
    """Returns the names of all formats. Loads every module of the folder."""
    import tailcall_audit.analyzer.formats as package

    names = [entry.name for entry in iter_modules(package.__path__)]
    return tuple(name for name in names if hasattr(import_module(f"{_PACKAGE}.{name}"), "render"))


def find_format(name: str) -> Format:
    """Returns the format of a name; raises AuditError if there is none."""
    try:
        module = import_module(f"{_PACKAGE}.{name}")
        return Format(
            name, module.render, getattr(module, "pieces", lambda report, view: iter((module.render(report, view),)))
        )
    except (ModuleNotFoundError, AttributeError) as error:
        raise AuditError(f"no output format {name!r}; there are {', '.join(format_names())}") from error
