"""One input: the files that a reader is given, which are written into a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Case", "Content", "Fifo", "Link", "Sparse", "name_of", "write"]


class Link(NamedTuple):
    """A symbolic link."""

    target: str


class Fifo(NamedTuple):
    """A named pipe that nothing writes to."""


class Sparse(NamedTuple):
    """A file of so many bytes, of which only the beginning is there: the rest is a hole."""

    size: int
    head: bytes = b""


Content = bytes | Link | Fifo | Sparse
Case = Mapping[str, Content]
"""The content of each file by its path. A reader that takes one file takes the first."""


def write(case: Case, folder: Path) -> Path:
    """Writes the files of a case into a folder, and returns the first one's path."""
    first: Path | None = None
    for name, content in case.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        first = first or path
        if isinstance(content, Link):
            path.symlink_to(content.target)
        elif isinstance(content, Fifo):
            os.mkfifo(path)
        elif isinstance(content, Sparse):
            path.write_bytes(content.head)
            os.truncate(path, content.size)
        else:
            path.write_bytes(content)
    return first or folder


def name_of(case: Case) -> str:
    """Returns the name of the first file."""
    return next(iter(case), "")
