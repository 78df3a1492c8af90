"""Tests of where the user's surveys are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailcall_audit.analyzer.survey.folder import has_surveys, user_folder


@pytest.mark.parametrize("variable", ["XDG_DATA_HOME", "HOME"])
def test_the_quick_look_finds_what_platformdirs_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    assert not has_surveys()
    user_folder().mkdir(parents=True)
    assert has_surveys()


@pytest.mark.parametrize("variable", ["XDG_DATA_HOME", "HOME"])
def test_the_current_directory_is_no_place_for_surveys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/tailcall-audit/surveys").mkdir(parents=True)
    monkeypatch.setenv(variable, "data")
    assert user_folder().is_absolute()
    assert tmp_path not in user_folder().parents
