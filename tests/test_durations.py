"""The time of the tests by folder, as a run of CI ends with it."""

from __future__ import annotations

import pytest

from tests.durations import times_by_folder


def _report(nodeid: str, seconds: float) -> pytest.TestReport:
    return pytest.TestReport(nodeid, ("", 0, ""), {}, "passed", None, "call", duration=seconds)


def test_the_tests_of_a_folder_are_added_up_and_the_longest_comes_first() -> None:
    reports = (
        _report("tests/test_worker.py::test_a", 2.0),
        _report("tests/live/test_lab.py::test_b[x::y/z]", 300.4),
        _report("tests/live/test_lab.py::test_c", 30.0),
        _report("tests/plan/test_plan.py::test_d", 0.2),
    )
    assert list(times_by_folder(reports)) == [
        "",
        "time of the tests by folder, all processes together:",
        "     330 s  tests/live",
        "       2 s  tests",
    ]


def test_a_run_of_a_second_has_no_table() -> None:
    assert list(times_by_folder([_report("tests/test_a.py::test_a", 0.5)])) == []
