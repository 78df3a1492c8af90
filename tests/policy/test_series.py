"""Several builds of a kernel: the first without a defect for good, series apart, and what a reboot would mend."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.model import (
    Confidence,
    FirstFixed,
    Rule,
    Skipped,
    State,
    TargetKind,
    TargetReport,
    Verdict,
)
from tailcall_audit.analyzer.policy.series import first_fixed, first_fixed_by_series, with_pending_reboots

A, F, N, U = State.AFFECTED, State.FIXED, State.NOT_AFFECTED, State.UNKNOWN
(LOOP,) = load_catalog().find("freplace-loop")


def build(name: str, state: State, series: str | None = None, is_running: bool = False) -> TargetReport:
    verdict = Verdict(LOOP, state, Confidence.HIGH, Rule.FIX_PRESENT, "", "")
    return TargetReport(name, TargetKind.PACKAGE, {}, (verdict,), is_running=is_running, series=series)


@pytest.mark.parametrize(
    ("states", "oldest"),
    [
        ((A, F), "1"),
        ((A, F, N), "1"),
        ((N, N), "0"),
        ((F, A), None),
        ((F, A, F), "2"),
        ((F, U), None),
        ((A, U, F), "2"),
        ((A,), None),
    ],
)
def test_the_first_version_without_a_defect_is_one_after_which_none_has_it(
    states: tuple[State, ...], oldest: str | None
) -> None:
    builds = [build(str(number), state) for number, state in enumerate(states)]
    assert first_fixed("linux", builds) == [FirstFixed("linux", "freplace-loop", oldest)]


def test_a_build_that_cannot_be_judged_may_have_the_defect() -> None:
    broken = Skipped("broken", "its changelog cannot be read", "6.1")
    assert first_fixed("linux", [build("1", F), broken])[0].version is None
    assert first_fixed("linux", [broken, build("1", F)])[0].version == "1"


def test_each_series_has_its_own_first_version() -> None:
    builds = [build("a1", A, "a"), build("b1", F, "b"), build("a2", F, "a"), build("none", A)]
    assert [(item.kernel, item.version) for item in first_fixed_by_series(builds)] == [("a", "a2"), ("b", "b1")]


def test_an_index_that_cannot_be_read_may_have_had_the_newest_of_every_series() -> None:
    builds = [build("a1", F, "a"), build("b1", F, "b")]
    placed, unplaced = Skipped("x", "broken", "a"), Skipped("index", "broken")
    assert [item.version for item in first_fixed_by_series([*builds, placed])] == [None, "b1"]
    assert [item.version for item in first_fixed_by_series([*builds, unplaced])] == [None, None]


def test_a_reboot_is_pending_only_for_the_kernel_that_runs() -> None:
    running, newer = build("6.1.0-47", A, is_running=True), build("6.1.0-56", F)
    before, after = with_pending_reboots([running, newer])
    assert before.notes == ("a reboot is pending: 6.1.0-56 is installed and fixes freplace-loop (pitfall 6)",)
    assert after.notes == ()
    assert with_pending_reboots([build("6.1.0-47", F, is_running=True), build("6.1.0-56", A)])[0].notes == ()
