"""What the programs of the JIT's cases do, instruction by instruction: their entries are those that guests showed."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.jit import CASES
from tailcall_audit.analyzer.readers.emulation.stage import Finding, Outcome
from tests.readers.played import outcome
from tests.readers.played_bpf import Hands, anew, behind_a_pointer, by_value, from_a_wrong_place, interpreting
from tests.readers.played_jit import HIERARCHY, OFFSET


def _found(hands: Hands, case: str, *, jumps: bool) -> Finding:
    answer = outcome(interpreting(hands, jumps=jumps), CASES[case])
    assert isinstance(answer, Finding), answer
    return answer


@pytest.mark.parametrize("jumps", [True, False])
def test_a_count_behind_a_pointer_stops_every_chain_after_34_entries(jumps: bool) -> None:
    for case in CASES:
        found = _found(behind_a_pointer, case, jumps=jumps)
        assert found.outcome is Outcome.STOPS
        assert "which is then entered 34 times" in found.story


@pytest.mark.parametrize("jumps", [True, False])
def test_a_count_that_is_handed_on_by_value_is_pitfall_4_and_not_2(jumps: bool) -> None:
    """89 entries, as the guests of 5.10.218 and 6.1.170 show."""
    found = _found(by_value, HIERARCHY, jumps=jumps)
    assert (found.outcome, "which is then entered 89 times" in found.story) == (Outcome.LOOPS, True)
    assert _found(by_value, OFFSET, jumps=jumps).outcome is Outcome.STOPS


@pytest.mark.parametrize("jumps", [True, False])
def test_a_count_that_is_read_from_a_wrong_place_is_pitfall_2_and_not_4(jumps: bool) -> None:
    """5.10.218 without ff672c67ee76: 61 entries above zeros and 2 above ones."""
    found = _found(from_a_wrong_place, OFFSET, jumps=jumps)
    assert found.outcome is Outcome.LOOPS
    assert "which is then entered 61 times above a stack of zeros, 2 times above a stack of ones" in found.story
    assert _found(from_a_wrong_place, HIERARCHY, jumps=jumps).outcome is Outcome.STOPS


@pytest.mark.parametrize("case", CASES)
def test_a_count_that_begins_anew_in_each_function_is_a_failed_control(case: str) -> None:
    """arm64 before 6.0: 61 entries."""
    answer = outcome(interpreting(anew), CASES[case])
    assert isinstance(answer, EmulationError)
    assert (answer.why, "is entered 61 times, not 34" in answer.detail) == (Why.CONTROL, True)


@pytest.mark.parametrize("case", CASES)
def test_a_jit_that_leaves_programs_as_they_are_is_a_failed_control(case: str) -> None:
    """bpf_int_jit_compile() returns the program then, which is not marked as compiled."""
    answer = outcome(interpreting(behind_a_pointer, compiles=False), CASES[case])
    assert isinstance(answer, EmulationError)
    assert (answer.why, "does not compile" in answer.detail) == (Why.CONTROL, True)
