"""Tests of surveys as files: what was written is read, and what another hand changed is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tailcall_audit.analyzer.survey.store import SCHEMA_VERSION, Store, digest_of, from_bytes, to_bytes
from tailcall_audit.analyzer.survey.types import Claim, Kind, State, Survey, SurveyError

SURVEY = Survey(
    Kind.STABLE,
    "stable",
    "the tags of linux",
    "2026-11-25",
    {"6.6": "6.6.158"},
    (
        Claim("d6083f040d5d", State.ABSENT_THROUGH, "6.6.158", "GIT linux v6.6.158", branch="6.6"),
        Claim("2b5dcb31a19a", State.PRESENT_FROM, "6.6.158", "GIT linux v6.6.158", branch="6.6", id="0" * 40),
    ),
)


_CLAIM = {"commit": "d6083f040d5d", "state": "present-from", "source": "s"}


def _changed(**changes: Any) -> bytes:
    data = json.loads(to_bytes(SURVEY)) | changes
    return json.dumps(data | {"digest": digest_of(data)}).encode()


def test_a_survey_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path / "surveys")
    assert store.names() == []
    path = store.write(SURVEY)
    assert path.stat().st_mode & 0o077 == 0
    assert store.names() == ["stable"]
    assert store.read("stable") == SURVEY
    store.forget("stable")
    assert store.names() == []


def test_a_copy_goes_by_the_name_of_its_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "surveys")
    path = store.write(SURVEY._replace(claims=(SURVEY.claims[0]._replace(rebuilder="Example"),)))
    path.with_name("copy.json").write_bytes(path.read_bytes())
    path.with_name("copy.json").chmod(0o600)
    found = {survey.name: survey for survey in store.readable(pytest.fail)}
    assert sorted(found) == ["copy", "stable"]
    assert found["copy"].claims == found["stable"].claims
    assert found["copy"].claims[0].rebuilder == "Example"


def test_a_changed_survey_is_refused() -> None:
    with pytest.raises(SurveyError, match="changed since it was written"):
        from_bytes(to_bytes(SURVEY).replace(b"absent-through", b"present-from  "), "x")


def test_a_newer_schema_is_named() -> None:
    with pytest.raises(SurveyError, match=f"schema version {SCHEMA_VERSION + 1}, and this tool reads {SCHEMA_VERSION}"):
        from_bytes(_changed(schema_version=SCHEMA_VERSION + 1), "x")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        _changed(kind="rumour"),
        _changed(reach=[]),
        _changed(date="yesterday"),
        _changed(claims=[{"commit": "d6083f040d5d", "state": "present-from", "release": "6.6.1", "source": "s"}]),
        _changed(claims=[{"commit": "x", "state": "present-from", "release": "6.6.1", "source": "s", "branch": "6.6"}]),
        _changed(name="../../etc/passwd"),
        _changed(reach={"6.6": "soon"}),
        _changed(reach={"a branch": "6.6.1"}),
        _changed(reach={"rhel/5.14/el9": "\x1b[31m"}),
        _changed(reach={"rhel/5.14/el9/x": "5.14.0-427.el9"}),
        _changed(reach={"6.6": "6.6.158", "6.1": 6.1}),
        _changed(claims=[{**_CLAIM, "branch": "6.6", "release": "el9"}]),
        _changed(claims=[{**_CLAIM, "series": "rhel", "release": "5.14.0-427.el9"}]),
        # It is about a branch or about a series.
        _changed(claims=[{**_CLAIM, "branch": "6.6", "series": "debian/6.6", "release": "6.6.1"}]),
        _changed(claims=[{**_CLAIM, "branch": "6.6", "release": "6.6.1", "verdict": "fixed"}]),
        _changed(claims=[{**_CLAIM, "series": "rhel/5.14/el9", "release": "el9"}]),
    ],
)
def test_a_broken_survey_is_refused(raw: bytes) -> None:
    with pytest.raises(SurveyError, match="x: "):
        from_bytes(raw, "x")


def test_one_broken_survey_does_not_cost_the_others(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(SURVEY)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "broken.json").chmod(0o600)
    os.symlink("/etc/passwd", tmp_path / "link.json")
    refused: list[str] = []
    assert [survey.name for survey in store.readable(refused.append)] == ["stable"]
    assert len(refused) == 2
    assert "broken.json" in refused[0]


def test_a_name_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(SurveyError, match="no name of a survey"):
        Store(tmp_path).read("../x")
    for name in ("../x", "Large", "a/b", "", "x" * 100):  # one of them would never be read again
        with pytest.raises(SurveyError, match="no name of a survey"):
            Store(tmp_path).write(SURVEY._replace(name=name))
    assert not list(tmp_path.iterdir())
