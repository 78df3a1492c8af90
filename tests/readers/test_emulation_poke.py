"""The case of jumps that are written into a program which kallsyms does not know, on played kernels."""

from __future__ import annotations

from typing import Any

import pytest

from tailcall_audit.analyzer.emulator.calls import Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.poke import CASES
from tailcall_audit.analyzer.readers.emulation.stage import Outcome
from tests.readers.played import TRAP, WILD, PlayedKernel, outcome

RUN, IS_TEXT, WRITE = "prog_array_map_poke_run", "is_bpf_text_address", "text_poke_bp"
NOTHINGS = ("0f1f440000", "6666666690", "3e8d742600")
CASE = CASES["poke/unknown-program"]


def _entry(scene: Any, program: int) -> int:
    return int(scene.objects.get(program, "bpf_prog", "bpf_func")) if program else 0


def kernel(
    *, skips_unknown: bool = False, nothing: str = NOTHINGS[0], checks: bool = True, wrong: str = "", end: int | Run = 0
) -> PlayedKernel:
    """Returns a kernel whose function changes the jumps of the programs of an array.

    `skips_unknown`: as before Linux kernel commit 4b7de801606e (in v6.7). `nothing` is its no-operation. `checks`: it
    stops where the code is not what it expects. `wrong` is a step that it does not do: "put", "replace" or "take".
    """

    def run(scene: Any, array: int, key: int, old: int, new: int) -> int | Run:
        objects, machine = scene.objects, scene.machine
        aux = objects.get(array, "bpf_array", "aux")
        assert objects.get(aux, "bpf_array_aux", "poke_mutex.owner.counter")
        head = aux + scene.layout.place("bpf_array_aux", "poke_progs")
        element = machine.word(head)
        # The list has one program: its links lead to the head, and the head's to it.
        assert (machine.word(element), machine.word(element + 8), machine.word(head + 8)) == (head, head, element)
        program = machine.word(
            element - scene.layout.place("prog_poke_elem", "list") + scene.layout.place("prog_poke_elem", "aux")
        )
        table = objects.get(program, "bpf_prog_aux", "poke_tab")
        assert objects.get(program, "bpf_prog_aux", "size_poke_tab") == 1
        assert objects.get(table, "bpf_jit_poke_descriptor", "tail_call.map") == array
        assert objects.get(table, "bpf_jit_poke_descriptor", "tail_call.key") == key
        assert objects.get(table, "bpf_jit_poke_descriptor", "tailcall_target_stable") == 1
        place = objects.get(table, "bpf_jit_poke_descriptor", "tailcall_target")
        bypass = objects.get(table, "bpf_jit_poke_descriptor", "tailcall_bypass")
        around = objects.get(table, "bpf_jit_poke_descriptor", "bypass_addr")
        assert machine.read(bypass, 5) == scene.bench.isa.jump(bypass, around, 5)
        if not scene.ask(IS_TEXT, place) and skips_unknown:
            return end
        step = "put" if not old else "take" if not new else "replace"
        none = bytes.fromhex(nothing)
        before = scene.bench.isa.jump(place, _entry(scene, old), 5) if old else none
        if checks and machine.read(place, 5) != before:
            return TRAP
        after = scene.bench.isa.jump(place, _entry(scene, new), 5) if new else none
        if step != wrong:
            source = machine.allocate(8)
            machine.write(source, after)
            scene.ask(WRITE, place, source, 5)
        return end

    return PlayedKernel({RUN: run})


@pytest.mark.parametrize("nothing", NOTHINGS)
def test_a_jump_is_changed_whether_kallsyms_knows_the_program_or_not(nothing: str) -> None:
    answer = outcome(kernel(nothing=nothing), CASE)
    assert not isinstance(answer, EmulationError), answer
    assert answer.outcome is Outcome.DONE


@pytest.mark.parametrize("nothing", NOTHINGS)
def test_a_kernel_before_the_fix_leaves_it(nothing: str) -> None:
    answer = outcome(kernel(nothing=nothing, skips_unknown=True), CASE)
    assert not isinstance(answer, EmulationError), answer
    assert answer.outcome is Outcome.NOT_DONE


@pytest.mark.parametrize("wrong", ["put", "replace", "take"])
def test_a_kernel_that_does_not_change_the_jumps_of_a_program_in_use_is_a_failed_control(wrong: str) -> None:
    answer = outcome(kernel(wrong=wrong, checks=False), CASE)
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.CONTROL


def test_another_no_operation_than_those_that_are_known_is_a_failed_control() -> None:
    answer = outcome(kernel(nothing="cccccccccc"), CASE)
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.CONTROL


def test_a_fault_is_no_answer() -> None:
    answer = outcome(kernel(end=WILD), CASE)
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.UNEXPECTED_FAULT


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_kernel_that_traps_for_a_program_that_it_does_not_know_is_a_failed_control(step: int) -> None:
    """It did the same for one that it knows, so that nothing else was in its way."""
    played = kernel()
    healthy = played._plays[RUN]

    def run(scene: Any, *arguments: int) -> int | Run:
        scene.state["step"] = scene.state.get("step", 0) + 1
        known = scene.ask(IS_TEXT, 0)
        return healthy(scene, *arguments) if known or scene.state["step"] < step else TRAP

    played._plays[RUN] = run
    answer = outcome(played, CASE)
    assert isinstance(answer, EmulationError)
    assert (answer.why, "traps although" in answer.detail) == (Why.CONTROL, True)


def test_a_release_without_such_descriptors_is_a_reason() -> None:
    played = PlayedKernel({RUN: kernel()._plays[RUN]}, lacks=("bpf_jit_poke_descriptor.tailcall_target_stable",))
    answer = outcome(played, CASE)
    assert isinstance(answer, EmulationError)
    assert answer.why is Why.NO_MEMBER
