"""A clone of 6.1.y with real source, which tests of trees change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repositories import History, stable_branch
from tests.subjects.trees import with_source


@pytest.fixture
def clone(tmp_path: Path) -> History:
    history = with_source(stable_branch(tmp_path / "linux"))
    history.checkout()
    return history
