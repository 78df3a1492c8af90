"""Output formats, found by their names: each is a module here with ``render(report, view) -> str``.

A module may also have ``pieces`` and ``CHANGES``, as `Format` has them. A module with ``LAYOUT = True`` is a text
layout for certain reports (`matrix`, `lab`), not a format that a user can choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.errors import AuditError, did_you_mean

if TYPE_CHECKING:
    from tailcall_audit.analyzer.model import Report

__all__ = ["Changes", "Format", "FormatNames", "View", "find_format", "format_names"]

_PACKAGE = "tailcall_audit.analyzer.formats"


class View(NamedTuple):
    """The user's choices for a report: `everything` adds the defects of other architectures, `explain` the evidence.

    `unknown_passes` is True if the user's gate accepts unknown verdicts. `made` is the time of the report, in seconds
    since 1970. `publisher` and `namespace` name its publisher, in formats that have one ("": none).
    """

    everything: bool = False
    explain: bool = False
    unknown_passes: bool = False
    made: float = 0.0
    publisher: str = ""
    namespace: str = ""


class Changes(Enum):
    """A form of a comparison with an earlier report."""

    TEXT = "text"
    MARKDOWN = "markdown"


class Format(NamedTuple):
    """An output format: its name, and the function that renders a report as text. The text ends in a line break.
    `pieces` yields the same text in parts, so that a large report is never completely in memory as text. `changes` is
    the form in which a comparison with an earlier report follows a report; None if nothing may follow it.
    """

    name: str
    render: Callable[[Report, View], str]
    pieces: Callable[[Report, View], Iterator[str]]
    changes: Changes | None


def format_names() -> tuple[str, ...]:
    """Returns the names of all formats that a user can choose. Loads every module of the folder."""
    from pkgutil import iter_modules

    import tailcall_audit.analyzer.formats as package

    names = [entry.name for entry in iter_modules(package.__path__)]
    modules = ((name, import_module(f"{_PACKAGE}.{name}")) for name in names)
    return tuple(name for name, module in modules if hasattr(module, "render") and not hasattr(module, "LAYOUT"))


class FormatNames:
    """The names of all formats, for a parser. They are looked up only when they are needed, because that loads modules."""

    def __iter__(self) -> Iterator[str]:
        return iter(format_names())

    def __contains__(self, name: object) -> bool:
        try:
            module = import_module(f"{_PACKAGE}.{name}")
        except ModuleNotFoundError:
            return False
        return hasattr(module, "render") and not hasattr(module, "LAYOUT")


def find_format(name: str) -> Format:
    """Returns the format with a name; raises AuditError if there is none."""
    try:
        module = import_module(f"{_PACKAGE}.{name}")
        return Format(
            name,
            module.render,
            getattr(module, "pieces", lambda report, view: iter((module.render(report, view),))),
            getattr(module, "CHANGES", None),
        )
    except (ModuleNotFoundError, AttributeError) as error:
        known = format_names()
        raise AuditError(
            f"no output format {name!r}; there are {', '.join(known)}{did_you_mean(name, known)}"
        ) from error
