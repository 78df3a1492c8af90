"""Debian's sources, copied to be changed, and histories, read by git and by libgit2."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tailcall_audit.analyzer.kernelfiles import git_walk as walk_module
from tests.readers.sources import BOOKWORM_170, BOOKWORM_192, OLDEST, Source
from tests.repositories import History, stable_branch


@pytest.fixture
def oldest(tmp_path: Path) -> Source:
    return Source("5.10", OLDEST, tmp_path / "oldest")


@pytest.fixture
def before_loop_fix(tmp_path: Path) -> Source:
    return Source("6.1", BOOKWORM_170, tmp_path / "before")


@pytest.fixture
def after_loop_fix(tmp_path: Path) -> Source:
    return Source("6.1", BOOKWORM_192, tmp_path / "after")


@pytest.fixture(params=["git", "libgit2"])
def walker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every history is read both ways: by the git binary, and without it."""
    if request.param == "libgit2":
        monkeypatch.setattr(walk_module, "git_command", lambda *_: None)
    elif shutil.which("git") is None:
        pytest.skip("no git binary on this machine")
    return str(request.param)


@pytest.fixture
def stable(tmp_path: Path) -> History:
    return stable_branch(tmp_path / "linux")
