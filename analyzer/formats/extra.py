"""Imports the optional libraries of formats. If one is not installed, the error names the extra to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tailcall_audit.analyzer.model import AuditError

__all__ = ["needs"]


@contextmanager
def needs(library: str, name: str) -> Iterator[None]:
    """Context manager around the import of an optional library. Raises AuditError with the name of the extra if that
    fails.
    """
    try:
        yield
    except ImportError as error:
        remedy = "pip install 'tailcall-audit[formats]'"
        raise AuditError(f"--format {name}: the library {library} is not installed: {remedy}") from error
