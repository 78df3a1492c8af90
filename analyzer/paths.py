"""Access to files and folders that the user names. All functions raise AuditError only."""

from __future__ import annotations

import os
import stat
from enum import Enum
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.errors import AuditError

if TYPE_CHECKING:
    from pathlib import Path  # not needed for a version string

__all__ = ["Kind", "cache_folder", "check_file", "expanded", "is_file", "kind_of"]


class Kind(Enum):
    """The kind of file at a path, after following links."""

    MISSING = "no such file"
    FILE = "a file"
    FOLDER = "a folder"
    OTHER = "not a regular file"


def cache_folder() -> Path:
    """Returns the folder of this tool's caches (XDG_CACHE_HOME). Raises AuditError if it would be in the current
    directory, whose files may come from other people.
    """
    from platformdirs import user_cache_path

    found = user_cache_path("tailcall-audit", appauthor=False)
    if not found.is_absolute():
        raise AuditError(f"{found}: no absolute folder for caches: set HOME or XDG_CACHE_HOME to one")
    return found


def expanded(text: str | os.PathLike[str]) -> Path:
    """Returns the path with a leading ``~`` replaced by a home directory, if that exists."""
    from pathlib import Path

    return Path(os.path.expanduser(text))


def kind_of(path: Path) -> Kind:
    """Returns the kind of file at a path. Raises AuditError if it cannot be examined: a name too long, a folder without
    access, a loop of links.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Kind.MISSING
    except (OSError, ValueError) as error:
        raise AuditError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return Kind.FILE if stat.S_ISREG(mode) else Kind.FOLDER if stat.S_ISDIR(mode) else Kind.OTHER


def check_file(path: Path, hint: str, error: type[AuditError] = AuditError) -> None:
    """Raises `error` if the path is not a regular file. `hint` says in the message what to give instead."""
    kind = kind_of(path)
    if kind is not Kind.FILE:
        raise error(f"{path}: {'no such file' if kind is Kind.MISSING else 'not a regular file'}; {hint}")


def is_file(path: Path) -> bool:
    """Returns True if the path is a regular file and can be examined."""
    try:
        return kind_of(path) is Kind.FILE
    except AuditError:
        return False
