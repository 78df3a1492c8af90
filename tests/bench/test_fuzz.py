"""The fuzzer of an hour: what it keeps of a failure, and what it says of a crash and of a case that does not end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import strategies as st

from bench import fuzz, hostile
from tests.fuzzing.readers import FuzzedReader
from tests.strategies.case import Case


def _raises(path: Path) -> None:
    raise KeyError(path.read_bytes())


def _crashes(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _waits(path: Path) -> None:
    signal.pause()


def reader(read: object) -> FuzzedReader:
    cases: st.SearchStrategy[Case] = st.just({"file": b"nasty"})
    return FuzzedReader("broken", cases, read, (), 1)  # type: ignore[arg-type]


def kept(folder: Path) -> tuple[str, bytes]:
    (place,) = folder.iterdir()
    return (place / "error").read_text(), (place / "files/file").read_bytes()


def test_an_error_is_kept_once_with_its_files_and_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = reader(_raises)
    tally = fuzz._apart(broken, 1, 1.0, tmp_path)
    assert tally.cases >= 1
    error, data = kept(tmp_path)
    assert "KeyError" in error
    assert data == b"nasty"
    monkeypatch.setattr(fuzz, "READERS", (broken,))
    with pytest.raises(KeyError):
        fuzz._replay(next(tmp_path.iterdir()))


def test_a_crash_is_a_failure_with_the_case_that_was_read(tmp_path: Path) -> None:
    fuzz._apart(reader(_crashes), 1, 600.0, tmp_path)
    error, data = kept(tmp_path)
    assert error.startswith("the process ended with")
    assert data == b"nasty"


def test_a_case_that_does_not_end_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Until then the process has to write its first case, on a busy machine too.
    monkeypatch.setattr(fuzz, "_SILENT", 10.0)
    fuzz._apart(reader(_waits), 1, 0.0, tmp_path)
    assert kept(tmp_path) == ("it did not end", b"nasty")


def test_what_is_not_reached_is_named() -> None:
    def faults(size: int, **changes: object) -> list[str]:
        fine = hostile.Measured(seconds=1.0, megabytes=100.0, code=2, stray=False)
        return hostile._faults(size, fine._replace(**changes))  # type: ignore[arg-type]

    assert faults(1000) == []
    assert faults(1000, seconds=6.0, megabytes=600.0) == ["more than 5 s", "more than 512 MB"]
    assert faults(2 << 20, seconds=6.0, megabytes=600.0) == []
    assert faults(1000, code=None) == ["does not end"]
    assert faults(1000, code=4) == ["exit code 4"]
    assert faults(1000, code=-11, stray=True) == ["exit code -11", "a raw control character"]


def test_an_input_is_measured_in_a_process_of_its_own() -> None:
    measured = hostile._run(["--kernel", "6.1"])
    assert measured.code == 1
    assert not measured.stray
    assert measured.seconds > 0
    assert measured.megabytes > 5
