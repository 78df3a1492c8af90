"""What the boots of a guest mean together. An oops that comes late may be an earlier probe's."""

from __future__ import annotations

import pytest

from tailcall_audit.probes.guest.results import Boot, Results
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, PRESENT, Result

HELLO = ["hello", "6.1.0", "#1 SMP", "1", "1", "", "1", "4096"]
END = ["end", "0.1", ""]
PANIC = (
    "BUG: kernel NULL pointer dereference, address: 0000000000000004\n[    1.0] Oops: 0000 [#1]\n"
    "[    1.0] RIP: 0010:{}+0x1c/0x90\n[    1.0] Call Trace:\n[    1.0]  process_one_work+0x2c/0x70\n"
    "[    1.0] Kernel panic - not syncing: Fatal exception\n"
)
FREED = PANIC.format("bpf_prog_free_deferred")
"""An oops in a work item that frees a program, which no probe names as its own."""
LATE = "freplace-attached-panic"


def boot(*frames: list[str], console: str = "", silent_for: float | None = None) -> Boot:
    return Boot([HELLO, *frames], console, "", silent_for)


def absent(slug: str) -> tuple[list[str], list[str]]:
    return ["start", slug], ["result", slug, ABSENT, "34 entries", "1", ""]


def waiting(results: Results) -> list[str]:
    return [probe.slug for probe in results.waiting]


BAD_ENDS = [
    ([], FREED, None, "the guest oopsed in bpf_prog_free_deferred between two probes"),
    ([], "", None, "the guest ended between two probes"),
    ([], "", 90.0, "the guest said nothing for 90 s between two probes"),
    ([END], FREED, None, "the guest oopsed in bpf_prog_free_deferred after the last probe"),
]
EARLY = ("x86-hierarchy", "freplace-loop")
BEFORE = (*absent("x86-hierarchy"), *absent("freplace-loop"))


@pytest.mark.parametrize(("frames", "console", "silent_for", "words"), BAD_ENDS)
def test_absences_of_two_boots_that_end_badly_are_taken_back(
    frames: list[list[str]], console: str, silent_for: float | None, words: str
) -> None:
    results = Results(EARLY)
    for left in (list(EARLY), []):
        results.add(boot(*BEFORE, *frames, console=console, silent_for=silent_for))
        assert sorted(waiting(results)) == sorted(left)
        assert results.failure is None
    for result in results.outcome().results.values():
        assert (result.state, result.conclusive) == (COULD_NOT_RUN, False)
        assert result.detail.startswith(f"it saw no defect, but {words}, in a second boot as well")


@pytest.mark.parametrize(("frames", "console", "silent_for", "words"), BAD_ENDS)
def test_absences_hold_if_the_second_boot_ends_in_order(
    frames: list[list[str]], console: str, silent_for: float | None, words: str
) -> None:
    results = Results(EARLY)
    results.add(boot(*BEFORE, *frames, console=console, silent_for=silent_for))
    results.add(boot(*BEFORE, END))
    assert set(results.outcome().results.values()) == {Result(ABSENT, "34 entries", True)}


@pytest.mark.parametrize(("console", "silent_for"), [(FREED, None), ("", None), ("", 90.0)])
def test_an_end_in_the_middle_of_a_probe_that_is_not_its_defect_may_be_an_earlier_one_s(
    console: str, silent_for: float | None
) -> None:
    results = Results((*EARLY, LATE))
    results.add(boot(*BEFORE, ["start", LATE], console=console, silent_for=silent_for))
    assert sorted(waiting(results)) == sorted(EARLY)
    assert results.outcome().results[LATE].state == COULD_NOT_RUN


def test_an_oops_that_the_running_probe_explains_leaves_the_earlier_ones_their_results() -> None:
    results = Results(("x86-hierarchy", LATE))
    results.add(boot(*absent("x86-hierarchy"), ["start", LATE], console=PANIC.format("__bpf_prog_map_compatible")))
    assert waiting(results) == []
    found = results.outcome()
    assert found.results["x86-hierarchy"].state == ABSENT
    assert found.results[LATE].state == PRESENT
    assert found.boots == 1


@pytest.mark.parametrize("end", [[], [END]])
def test_an_oops_in_the_functions_of_the_last_probe_is_its_defect_even_after_its_result(end: list[list[str]]) -> None:
    results = Results((LATE,))
    results.add(boot(*absent(LATE), *end, console=PANIC.format("bpf_prog_map_compatible")))
    found = results.outcome().results[LATE]
    assert found.state == PRESENT
    assert found.detail.startswith("panicked in bpf_prog_map_compatible: BUG: kernel NULL")
    assert found.detail.endswith("(after the probe's result)")


def test_a_defect_that_was_seen_stays_seen_whatever_comes_later() -> None:
    results = Results(("x86-hierarchy", "freplace-loop"))
    seen = ["result", "x86-hierarchy", PRESENT, "68 entries", "1", ""]
    results.add(boot(["start", "x86-hierarchy"], seen, *absent("freplace-loop"), console=FREED))
    assert waiting(results) == ["freplace-loop"]
    assert results.outcome().results["x86-hierarchy"].state == PRESENT


def test_an_error_of_the_first_process_is_no_end_of_the_kernel() -> None:
    results = Results(("x86-hierarchy", "freplace-loop"))
    results.add(boot(*absent("x86-hierarchy"), ["error", "OSError: x"]))
    found = results.outcome()
    assert found.results["x86-hierarchy"].state == ABSENT
    assert found.failure == "the guest's first process failed: OSError: x"


def test_boots_that_bring_nothing_new_end() -> None:
    """A kernel that dies after the same probes each time: two boots, one for the doubt, and the rest gets its own."""
    results = Results(("x86-hierarchy", "freplace-loop"))
    for _ in range(2):
        assert results.failure is None
        results.add(boot(*absent("x86-hierarchy"), console=FREED))
    assert waiting(results) == ["freplace-loop"]
    results.add(boot(console=FREED))
    assert results.failure == "the guest ended before its first probe"


def test_a_warning_of_a_kernel_that_goes_on_costs_nothing() -> None:
    results = Results(("x86-hierarchy",))
    results.add(boot(*absent("x86-hierarchy"), END, console="BUG: sleeping function called from invalid context\n"))
    assert results.outcome().results["x86-hierarchy"].state == ABSENT
