"""The cases of the trampoline on played kernels."""

from __future__ import annotations

from typing import Any

import pytest

from tailcall_audit.analyzer.emulator.calls import Run
from tailcall_audit.analyzer.emulator.isa import isa_of
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.stage import Finding, Outcome
from tailcall_audit.analyzer.readers.emulation.trampoline import CASES as TRACED
from tests.readers.played import TRAP, outcome
from tests.readers.played_jit import FAR, IN_KERNEL, LISTS, LOST, Program, compiling, found, healthy, why

KINDS = {"trampoline/carries-fentry": (0,), "trampoline/carries-fexit": (1,), "trampoline/carries-both": (0, 1)}


@pytest.mark.parametrize("case", TRACED)
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    ("entries", "expected"), [(61, Outcome.LOOPS), (2, Outcome.MISCOUNTS), (LOST, Outcome.NULL_DEREFERENCE)]
)
def test_a_traced_function_decides_pitfall_3(case: str, direct: bool, entries: int | Run, expected: Outcome) -> None:
    """6.1.170 keeps the count; 5.10 loses it, and behind the fix of pitfall 4 a lost count is a lost pointer."""

    def counts(program: Program) -> int | Run:
        return entries if program.traced == KINDS[case] and program.direct is direct else 34

    assert found(compiling(counts), case) is expected


@pytest.mark.parametrize(("case", "flags"), list(zip(KINDS, (1 | 128, 2 | 4 | 128, 2 | 4 | 128), strict=True)))
def test_the_trampoline_is_asked_for_with_the_flags_of_its_kind(case: str, flags: int) -> None:
    """BPF_TRAMP_F_RESTORE_REGS for fentry alone, CALL_ORIG and SKIP_FRAME with fexit, and TAIL_CALL_CTX."""
    seen: list[Program] = []

    def counts(program: Program) -> int:
        seen.append(program)
        return 34

    assert found(compiling(counts), case) is Outcome.STOPS
    # One call, or the chain would be that of pitfall 4.
    assert {(item.calls, item.stack, item.traced, item.flags) for item in seen if item.traced} == {
        (1, 0, KINDS[case], flags)
    }


@pytest.mark.parametrize("case", TRACED)
@pytest.mark.parametrize("end", [FAR, IN_KERNEL, TRAP])
def test_another_fault_around_a_tracer_is_no_outcome(case: str, end: Run) -> None:
    assert why(compiling(lambda program: end if program.traced else 34), case) is Why.UNEXPECTED_FAULT


@pytest.mark.parametrize("case", TRACED)
@pytest.mark.parametrize(
    ("entries", "hits", "holds"),
    [(34, 33, True), (34, 32, False), (34, 0, False), (89, 33, True), (89, 32, False), (2, 1, True), (2, 0, False)],
)
def test_a_tracer_that_is_not_called_shows_nothing(case: str, entries: int, hits: int, holds: bool) -> None:
    """It is called at each entry of the function, but for the one that stops the chain."""
    played = compiling(lambda program: entries if program.traced else 34, hits=lambda _: hits)
    answer = outcome(played, TRACED[case])
    assert isinstance(answer, Finding) is holds
    if isinstance(answer, EmulationError):
        assert (answer.why, "the tracer is called" in answer.detail) == (Why.CONTROL, True)


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({"prepared": -12 & 0xFFFF_FFFF}, Why.CONTROL),
        ({"written": 0}, Why.CONTROL),
        ({"begins": "90c3cccccc"}, Why.CONTROL),
        ({"prepared": TRAP}, Why.UNEXPECTED_FAULT),
    ],
    ids=["error", "nothing", "no room", "trap"],
)
def test_a_trampoline_that_is_not_made_shows_nothing(odd: dict[str, Any], expected: Why) -> None:
    for case in TRACED:
        assert why(compiling(healthy, **odd), case) is expected


def test_a_release_with_another_list_of_programs_is_a_reason() -> None:
    names = [struct for struct, _, _ in LISTS]
    for case in TRACED:
        assert why(compiling(healthy, lacks=names), case) is Why.NO_MEMBER


@pytest.mark.parametrize("struct", ["bpf_tramp_links", "bpf_tramp_nodes", "bpf_tramp_progs"])
def test_each_release_has_its_list_of_programs(struct: str) -> None:
    """Programs before v6.0, links, and nodes since v7.1."""
    others = [name for name, _, _ in LISTS if name != struct]
    for case in TRACED:
        assert found(compiling(healthy, lacks=others), case) is Outcome.STOPS


def test_an_architecture_whose_traced_functions_are_not_known_is_a_reason() -> None:
    played = compiling(healthy)
    played.isa = isa_of("riscv64")
    for case in TRACED:
        assert why(played, case) is Why.NO_MACHINE
