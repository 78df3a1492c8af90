"""One answer of a case from all states of the code that is patched at boot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import pytest

from tailcall_audit.analyzer.emulator.calls import Patch
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.stage import Answer, Finding, Outcome, Stage, control, run_case

START = 0xFFFFFFFF81000000
DONE, NOT_DONE = Outcome.DONE, Outcome.NOT_DONE


def site(number: int, state: int = 0) -> Patch:
    return Patch(START + 16 * number, bytes([0x90 + state]) * 4, f"site {number}.{state}")


class Sites:
    """The other states of each place, by its address."""

    def __init__(self, patches: Sequence[Patch]) -> None:
        self._patches = patches

    def on_path(self, blocks: Iterable[tuple[int, int]]) -> list[Patch]:
        return [patch for start, size in blocks for patch in self._patches if start <= patch.address < start + size]


class Bench:
    """A bench whose scenes run through the blocks of some sites."""

    def __init__(self, *patches: Patch) -> None:
        self.sites = Sites(patches)
        self.kept: dict[object, object] = {}


class Scene:
    def __init__(self, numbers: Iterable[int]) -> None:
        self.machine = self
        self.executed = [(START + 16 * number, 8) for number in numbers]
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


def runs(stage: Stage, *numbers: int) -> frozenset[str]:
    """Makes a stage run through sites. Returns the patches of its state."""
    stage._scenes.append(cast("Any", Scene(numbers)))
    return frozenset(patch.why for patch in stage.patches)


def answer(bench: Bench, case: Any) -> Answer:
    return run_case(cast("Any", bench), "a case", case)


def test_code_without_such_places_is_run_once() -> None:
    seen: list[frozenset[str]] = []

    def case(stage: Stage) -> Finding:
        seen.append(runs(stage, 0))
        return Finding(DONE, "it")

    assert answer(Bench(), case) == Answer("a case", Finding(DONE, "it"))
    assert seen == [frozenset()]


def test_every_place_on_the_path_is_run_in_its_other_states() -> None:
    seen: list[frozenset[str]] = []

    def case(stage: Stage) -> Finding:
        seen.append(runs(stage, 1, 2))
        return Finding(DONE, "it")

    found = answer(Bench(site(1), site(2), site(2, 1), site(3)), case)
    assert found == Answer("a case", Finding(DONE, "it"), sites=3)
    assert seen == [frozenset(), {"site 1.0", "site 2.0"}, {"site 1.0", "site 2.1"}]


def test_places_that_only_another_state_leads_to_are_run_too() -> None:
    seen: list[frozenset[str]] = []

    def case(stage: Stage) -> Finding:
        state = frozenset(patch.why for patch in stage.patches)
        seen.append(runs(stage, *((1, 2) if state else (1,))))
        # Behind the place that only the other state of the first leads to, the fix is lost.
        return Finding(NOT_DONE if "site 2.0" in state else DONE, "it")

    found = answer(Bench(site(1), site(2)), case)
    assert found.finding is None
    assert found.why is not None
    assert found.why.why is Why.STATES_DIFFER
    assert seen[:3] == [frozenset(), {"site 1.0"}, {"site 1.0", "site 2.0"}]


def test_a_state_that_no_kernel_is_ever_in_does_not_count_if_each_place_alone_agrees() -> None:
    """Two alternatives for two processors: together they make code that no processor runs."""
    seen: list[frozenset[str]] = []

    def case(stage: Stage) -> Finding:
        seen.append(runs(stage, 1, 2))
        return Finding(NOT_DONE if len(stage.patches) == 2 else DONE, "it")

    found = answer(Bench(site(1), site(2)), case)
    assert found == Answer("a case", Finding(DONE, "it"), sites=2)
    assert seen == [frozenset(), {"site 1.0", "site 2.0"}, {"site 1.0"}, {"site 2.0"}]


@pytest.mark.parametrize("error", [Why.CONTROL, Why.UNEXPECTED_FAULT])
def test_a_state_without_an_answer_differs_too(error: Why) -> None:
    def case(stage: Stage) -> Finding:
        if "site 2.0" in runs(stage, 1, 2):
            raise EmulationError(error, "it is lost")
        return Finding(DONE, "it")

    found = answer(Bench(site(1), site(2)), case)
    assert found.finding is None
    assert found.why is not None
    assert found.why.why is Why.STATES_DIFFER
    assert found.why.detail == f"done; with the site 2.0 in its other state {error.value}: it is lost"


def test_a_state_with_another_outcome_is_named() -> None:
    def case(stage: Stage) -> Finding:
        return Finding(NOT_DONE if "site 1.0" in runs(stage, 1) else DONE, "it")

    found = answer(Bench(site(1)), case)
    assert found.why is not None
    assert found.why.detail == "done; with the site 1.0 in its other state not-done"


def test_a_case_without_an_answer_in_the_first_state_has_none() -> None:
    opened: list[Any] = []

    def case(stage: Stage) -> Finding:
        runs(stage, 1)
        opened.extend(stage._scenes)
        control(False, "it fails")
        raise AssertionError

    found = answer(Bench(site(1)), case)
    assert (found.finding, found.sites) == (None, 0)
    assert found.why is not None
    assert (found.why.why, found.why.detail) == (Why.CONTROL, "it fails")
    assert not any(scene.is_open for scene in opened)


@pytest.mark.parametrize(("count", "has_answer"), [(24, True), (25, False)])
def test_more_places_than_can_be_run_have_no_answer(count: int, has_answer: bool) -> None:
    def case(stage: Stage) -> Finding:
        runs(stage, *range(count))
        return Finding(DONE, "it")

    found = answer(Bench(*map(site, range(count))), case)
    assert (found.finding is not None) is has_answer
    assert has_answer or (found.why is not None and found.why.why is Why.UNPATCHABLE)


def test_the_machines_of_every_state_are_closed() -> None:
    opened: list[Any] = []

    def case(stage: Stage) -> Finding:
        runs(stage, 1)
        opened.extend(stage._scenes)
        if stage.patches:
            raise EmulationError(Why.CONTROL, "it")
        return Finding(DONE, "it")

    answer(Bench(site(1)), case)
    assert len(opened) == 3
    assert not any(scene.is_open for scene in opened)


def test_a_place_on_the_path_of_a_shared_control_is_run_in_its_other_states() -> None:
    """The second case of a bench takes the control's result, and its path counts as run."""
    bench = Bench(site(1), site(2))

    def chains(stage: Stage) -> bool:
        return "site 1.0" not in runs(stage, 1)

    def case(stage: Stage) -> Finding:
        control(stage.once("chains", chains), "a plain chain is wrong")
        runs(stage, 2)
        return Finding(DONE, "it")

    for _ in range(2):
        found = answer(bench, case)
        assert found.why is not None
        assert found.why.why is Why.STATES_DIFFER
        assert "with the site 1.0 in its other state" in found.why.detail


@pytest.mark.parametrize(
    ("start", "size", "is_run_anew"),
    [(0, 16, True), (8, 8, True), (8, 9, True), (10, 2, True), (11, 5, True), (0, 8, False), (12, 4, False)],
)
def test_a_step_is_run_anew_where_a_patch_changes_code_on_its_path(start: int, size: int, is_run_anew: bool) -> None:
    """A patch of four bytes 8 bytes behind the start, and a block around, before, behind or in the middle of it."""
    bench, patch = Bench(), Patch(START + 8, bytes(4), "static key")
    done: list[str] = []

    def step(stage: Stage) -> int:
        scene = Scene(())
        scene.executed = [(START - 64, 4), (START + start, size), (START + 64, 2)]
        stage._scenes.append(cast("Any", scene))
        done.append("it")
        return len(done)

    stages = [Stage(cast("Any", bench), patches) for patches in ((), (patch,), (patch,), ())]
    first, patched, again, last = [stage.once("step", step) for stage in stages]
    assert (first, last) == (1, 1)
    assert patched == again == (2 if is_run_anew else 1)
    assert all((START + start, size) in stage.executed() for stage in stages)


def test_a_control_that_holds_raises_nothing() -> None:
    control(True, "it")
    with pytest.raises(EmulationError, match="it"):
        control(False, "it")
