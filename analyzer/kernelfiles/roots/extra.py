"""Loads the libraries of the extra `[disk]`, and words their complaints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from tailcall_audit.analyzer.kernelfiles.roots.root import RootError

__all__ = ["broken", "library"]


def library(module: str, what: str) -> Any:  # noqa: ANN401 (the libraries have no common type)
    """Returns a class of a library. Raises RootError if the extra is not installed."""
    try:
        return getattr(import_module(module), what)
    except ImportError as error:
        raise RootError(
            "to read disks, install the extra: pip install 'tailcall-audit[disk]' (docs/dependencies.md)"
        ) from error


def broken(label: str) -> Callable[[str], RootError]:
    """Returns a function that makes the error for a library's complaint about what `label` names."""
    return partial(_broken, label)


def _broken(label: str, words: str) -> RootError:
    return RootError(f"{label}: a broken disk: {words.partition(chr(10))[0][:300]}")
