"""Formats of a plan, found by their names: each is a module of `analyzer/plan/formats` with ``render(plan, catalog)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.errors import AuditError, did_you_mean

if TYPE_CHECKING:
    from tailcall_audit.analyzer.catalog.types import Catalog
    from tailcall_audit.analyzer.plan.types import Plan

__all__ = ["Rendered", "find_plan_format", "plan_format_names"]

Rendered = str | Mapping[str, bytes]
"""A text that ends in a line break, or the files of a folder by their names."""
_PACKAGE = "tailcall_audit.analyzer.plan.formats"


def plan_format_names() -> tuple[str, ...]:
    """Returns the names of all formats of a plan: every module of the folder is one."""
    import tailcall_audit.analyzer.plan.formats as package

    return tuple(entry.name for entry in iter_modules(package.__path__))


def find_plan_format(name: str) -> Callable[[Plan, Catalog], Rendered]:
    """Returns what renders a plan in a format; raises AuditError if there is none of that name."""
    try:
        found: Callable[[Plan, Catalog], Rendered] = import_module(f"{_PACKAGE}.{name}").render
    except (ModuleNotFoundError, AttributeError) as error:
        known = plan_format_names()
        raise AuditError(
            f"no format {name!r} of a plan; there are {', '.join(known)}{did_you_mean(name, known)}"
        ) from error
    return found
