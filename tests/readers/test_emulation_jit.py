"""The cases of the JIT on played kernels."""

from __future__ import annotations

from typing import Any

import pytest

from tailcall_audit.analyzer.emulator.calls import Run
from tailcall_audit.analyzer.emulator.reasons import Why
from tailcall_audit.analyzer.readers.emulation.compiler import jit_stubs
from tailcall_audit.analyzer.readers.emulation.jit import CASES, entry, every_way, in_words, judge
from tailcall_audit.analyzer.readers.emulation.stage import Outcome
from tailcall_audit.analyzer.readers.emulation.trampoline import CASES as TRACED
from tailcall_audit.probes.kernel.instructions import Insn
from tests.readers.played import TRAP, PlayedStage
from tests.readers.played_jit import FAR, HIERARCHY, IN_KERNEL, LOST, OFFSET, Program, compiling, found, healthy, why


@pytest.mark.parametrize("case", [*CASES, *TRACED])
@pytest.mark.parametrize("jumps", [True, False])
def test_a_count_that_is_kept_everywhere_stops(case: str, jumps: bool) -> None:
    assert found(compiling(healthy, jumps=jumps), case) is Outcome.STOPS


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (61, Outcome.LOOPS),
        (89, Outcome.LOOPS),
        (60, Outcome.MISCOUNTS),
        (2, Outcome.MISCOUNTS),
        (35, Outcome.MISCOUNTS),
    ],
)
def test_a_program_that_calls_twice_decides_pitfall_4_by_either_way(
    entries: int, expected: Outcome, direct: bool
) -> None:
    """5.10 and 6.1 show 89 entries, as their guests do."""

    def counts(program: Program) -> int:
        return entries if program.calls == 2 and program.direct is direct else 34

    assert found(compiling(counts), HIERARCHY) is expected
    # Nothing else asks for two calls.
    assert found(compiling(counts), OFFSET) is Outcome.STOPS


def test_a_jit_without_jumps_has_one_way_only() -> None:
    def counts(program: Program) -> int:
        return 89 if program.direct else 34

    # What would be a jump is compiled as the other one: it is not run for itself.
    assert found(compiling(counts, jumps=False), HIERARCHY) is Outcome.STOPS
    assert why(compiling(counts), HIERARCHY) is Why.CONTROL


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(("stack", "fill"), [(64, 0), (64, -1), (4, None)])
def test_a_stack_that_is_no_multiple_of_eight_decides_pitfall_2(stack: int, fill: int | None, direct: bool) -> None:
    """5.10.218 without ff672c67ee76: 61 entries above zeros and 2 above ones."""

    def counts(program: Program) -> int:
        lost = (program.stack, program.fill, program.direct) == (stack, fill, direct or stack == 64)
        return (2 if fill == -1 else 61) if lost else 34

    if stack == 64 and not direct:
        return  # that program has only the direct one
    expected = Outcome.MISCOUNTS if fill == -1 else Outcome.LOOPS
    assert found(compiling(counts), OFFSET) is expected


@pytest.mark.parametrize("case", [*CASES, *TRACED])
@pytest.mark.parametrize("calls", [0, 1])
@pytest.mark.parametrize("entries", [1, 33, 35, 61])
def test_a_plain_chain_that_is_not_entered_34_times_is_a_failed_control(case: str, calls: int, entries: int) -> None:
    """arm64 before 6.0 and riscv64 before 7.3 have no tail calls in functions: 61 entries."""

    def counts(program: Program) -> int:
        return entries if (program.calls, program.stack, program.traced) == (calls, 0, ()) else 34

    assert why(compiling(counts), case) is Why.CONTROL


@pytest.mark.parametrize(
    ("end", "expected"),
    [(LOST, Why.CONTROL), (IN_KERNEL, Why.UNEXPECTED_FAULT), (FAR, Why.UNEXPECTED_FAULT), (TRAP, Why.UNEXPECTED_FAULT)],
)
def test_emitted_code_that_faults_is_no_count(end: Run, expected: Why) -> None:
    """A NULL pointer that the emitted code follows without a tracer is what no kernel does: it is more than no answer."""
    assert why(compiling(lambda program: end if program.calls == 2 else 34), HIERARCHY) is expected
    assert why(compiling(lambda program: end if program.stack == 4 else 34), OFFSET) is expected
    assert why(compiling(lambda _: end), HIERARCHY) is expected


@pytest.mark.parametrize("case", CASES)
def test_a_jit_that_does_not_compile_is_a_failed_control(case: str) -> None:
    assert why(compiling(healthy, jits=0), case) is Why.CONTROL
    assert why(compiling(healthy, returned=0x1234), case) is Why.CONTROL
    assert why(compiling(healthy, moves=True), case) is Why.CONTROL


def test_a_jit_whose_prototype_is_not_known_is_a_reason() -> None:
    assert why(compiling(healthy, parameters=None), HIERARCHY) is Why.NO_BTF


def test_a_jump_that_cannot_be_written_is_a_reason() -> None:
    assert why(compiling(healthy, poked=TRAP), HIERARCHY) is Why.UNEXPECTED_FAULT
    # Without jumps there is nothing to write.
    assert found(compiling(healthy, poked=TRAP, jumps=False), HIERARCHY) is Outcome.STOPS


@pytest.mark.parametrize("end", [FAR, TRAP])
def test_a_jit_that_faults_is_a_reason(end: Run) -> None:
    assert why(compiling(healthy, ends=end), HIERARCHY) is Why.UNEXPECTED_FAULT


@pytest.mark.parametrize(("jumps", "ways"), [(True, 2), (False, 0)])
def test_what_lies_on_the_stack_is_tried_in_every_way(jumps: bool, ways: int) -> None:
    """The program that fills its stack tail-calls by a constant index whatever the way of the other one is."""
    seen: list[Program] = []

    def counts(program: Program) -> int:
        seen.append(program)
        return 34

    assert found(compiling(counts, jumps=jumps), OFFSET) is Outcome.STOPS
    assert sum(item.fill == 0 for item in seen) == sum(item.fill == -1 for item in seen) == max(ways, 1)


def test_a_program_stores_a_constant_in_the_whole_of_its_stack() -> None:
    def stores(stack: int) -> list[Insn]:
        return [insn for insn in entry(0x1000, 1, stack) if insn.code in (0x7A, 0x62)]

    assert stores(0) == []
    assert [(insn.code, insn.off, insn.imm) for insn in stores(4)] == [(0x62, -4, 0)]
    assert [(insn.code, insn.off, insn.imm) for insn in stores(8)] == [(0x7A, -8, 0)]


def test_the_memory_that_a_jit_asks_for_is_behind_its_header() -> None:
    """bpf_jit_binary_pack_alloc(length, &image, alignment, &rw_header, &rw_image, …): the copy to write is the code."""
    scene: Any = PlayedStage(compiling(healthy)).scene(jit_stubs())
    image, header, copy = (scene.machine.allocate(8) for _ in range(3))
    found = scene.ask("bpf_jit_binary_pack_alloc", 1 << 16, image, 8, header, copy)
    assert scene.machine.word(header) == found
    assert scene.machine.word(copy) == scene.machine.word(image) == found + 64
    assert scene.ask("bpf_jit_binary_pack_alloc", (1 << 16) + 1, image, 8, header, copy) == 0
    assert scene.ask("bpf_jit_binary_alloc", (1 << 16) + 1, image) == 0
    assert scene.machine.word(header) == found


@pytest.mark.parametrize("member", ["tailcall_target", "tailcall_bypass", "bypass_addr", "tailcall_target_stable"])
def test_a_release_whose_jumps_are_described_otherwise_is_a_reason(member: str) -> None:
    """Without descriptors the direct way would not be run, and a JIT that loses the count there would look sound."""
    played = compiling(healthy, jumps=member != "tailcall_target", lacks=(f"bpf_jit_poke_descriptor.{member}",))
    assert why(played, HIERARCHY) is Why.NO_MEMBER


def test_ways_with_the_same_number_are_one_in_words() -> None:
    assert in_words({"an indirect": 34, "a direct": 34}) == "34 times"
    assert in_words({"an indirect": 1}) == "1 time"
    assert (
        in_words({"an indirect": 34, "a direct": 1})
        == "34 times by an indirect tail call and 1 time by a direct tail call"
    )


def test_the_first_count_that_is_wrong_decides() -> None:
    assert judge((34, 34)) is Outcome.STOPS
    assert judge((34, 61, 2)) is Outcome.LOOPS
    assert judge((2, 61)) is Outcome.MISCOUNTS
    assert judge((61,)) is Outcome.LOOPS
    assert judge((60,)) is Outcome.MISCOUNTS
    assert every_way(lambda way: None if way.direct else 34) == {"an indirect": 34}
