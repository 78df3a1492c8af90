"""Parts of a disk that may hold a file system, each with the reason if it cannot be opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, NamedTuple

from tailcall_audit.analyzer.kernelfiles.roots.extra import broken
from tailcall_audit.analyzer.kernelfiles.roots.root import RootError
from tailcall_audit.analyzer.libraries import dissect_errors

__all__ = ["Volume", "beyond", "opened"]


class Volume(NamedTuple):
    """A partition, a logical volume or a file with a file system: what names it, and its content or the reason why it
    cannot be read.
    """

    label: str
    content: IO[bytes] | RootError


def opened(label: str, open_: Callable[[], IO[bytes]]) -> Volume:
    """Returns what a library opens, or its complaint."""
    try:
        with dissect_errors(broken(label)):
            return Volume(label, open_())
    except RootError as error:
        return Volume(label, error)


def beyond(label: str, limit: int, what: str) -> RootError:
    """Returns the reason why the rest of too many parts is not read."""
    return RootError(f"{label}: more than {limit} {what}: the others are not read")
