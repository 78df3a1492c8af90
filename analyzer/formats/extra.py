"""Imports the libraries of formats, which are extras, and names the extra if one is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tailcall_audit.analyzer.model import AuditError

__all__ = ["needs"]


@contextmanager
def needs(library: str, name: str) -> Iterator[None]:
    """A block that imports a format's library; raises an AuditError that names the extra if that fails."""
    try:
        yield
    except ImportError as error:
        remedy = "pip install 'tailcall-audit[formats]'"
        raise AuditError(f"--format {name}: the library {library} is not installed: {remedy}") from error
