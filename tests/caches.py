"""What others may do to a file that a cache keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")


def let_others_write(path: Path) -> None:
    path.chmod(0o666)


def link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")


def give_away(path: Path) -> None:
    os.chown(path, 65534, 65534)
