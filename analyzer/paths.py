"""Files and folders that the user names. Nothing here raises anything but AuditError."""

from __future__ import annotations

import os
import stat
from enum import Enum
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.errors import AuditError

if TYPE_CHECKING:
    from pathlib import Path  # not loaded for a version string

__all__ = ["Kind", "cache_folder", "check_file", "expanded", "is_file", "kind_of"]


class Kind(Enum):
    """The kind of file that a path names, with links followed."""

    MISSING = "no such file"
    FILE = "a file"
    FOLDER = "a folder"
    OTHER = "not a regular file"


def cache_folder() -> Path:
    """Returns the folder of this tool's caches (XDG_CACHE_HOME). Raises AuditError if it would be in the current
    directory: what lies there may be anyone's.
    """
    from platformdirs import user_cache_path

    found = user_cache_path("tailcall-audit", appauthor=False)
    if not found.is_absolute():
        raise AuditError(f"{found}: no absolute folder for caches: set HOME or XDG_CACHE_HOME to one")
    return found


def expanded(text: str | os.PathLike[str]) -> Path:
    """Returns the path with its ``~`` replaced by a home directory, where there is one of that name."""
    from pathlib import Path

    return Path(os.path.expanduser(text))


def kind_of(path: Path) -> Kind:
    """Raises AuditError if the system does not let us look: a name too long, a folder that is closed, a loop of links."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Kind.MISSING
    except (OSError, ValueError) as error:
        raise AuditError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return Kind.FILE if stat.S_ISREG(mode) else Kind.FOLDER if stat.S_ISDIR(mode) else Kind.OTHER


def check_file(path: Path, hint: str, error: type[AuditError] = AuditError) -> None:
    """Raises `error`, with a hint what to give instead, where there is no regular file."""
    kind = kind_of(path)
    if kind is not Kind.FILE:
        raise error(f"{path}: {'no such file' if kind is Kind.MISSING else 'not a regular file'}; {hint}")


def is_file(path: Path) -> bool:
    """Returns True if a regular file is there and may be looked at."""
    try:
        return kind_of(path) is Kind.FILE
    except AuditError:
        return False
