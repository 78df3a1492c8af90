"""Finds the user's surveys. Imports nothing that would slow down an audit without surveys."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.errors import AuditError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["has_surveys", "user_folder"]

_PLACE = ("tailcall-audit", "surveys")


def user_folder() -> Path:
    """Returns the folder of the user's surveys (XDG_DATA_HOME). Raises AuditError if its path is not absolute."""
    from platformdirs import user_data_path

    found = user_data_path(_PLACE[0], appauthor=False)
    if not found.is_absolute():
        raise AuditError(f"{found}: no absolute folder for surveys: set HOME or XDG_DATA_HOME to one")
    return found / _PLACE[1]


def has_surveys() -> bool:
    """Returns True if the user may have surveys.

    On Linux it checks the same path as platformdirs without importing it: the import takes a fifth of the time of an
    audit of a version string.
    """
    if sys.platform != "linux":
        return True
    home = os.environ.get("XDG_DATA_HOME", "").strip()
    if not os.path.isabs(home):
        home = os.path.expanduser("~/.local/share")
    # If the home is not an absolute path, platformdirs decides.
    return not os.path.isabs(home) or os.path.isdir(os.path.join(home, *_PLACE))
