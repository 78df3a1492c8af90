"""The cases of the JIT and of its trampoline on played kernels: what they compile is entered as often as a test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tailcall_audit.analyzer.emulator.calls import End, Run
from tailcall_audit.analyzer.emulator.isa import isa_of
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.compiler import CALL_BASE, JIT, jit_stubs
from tailcall_audit.analyzer.readers.emulation.jit import CASES, entry, every_way, in_words, judge
from tailcall_audit.analyzer.readers.emulation.jumps import RUN
from tailcall_audit.analyzer.readers.emulation.stage import Finding, Outcome
from tailcall_audit.analyzer.readers.emulation.trampoline import CASES as TRACED
from tailcall_audit.analyzer.readers.emulation.trampoline import PREPARE
from tailcall_audit.probes.kernel.instructions import Insn
from tests.readers.played import TRAP, Play, PlayedKernel, PlayedStage, outcome

LOST = Run(End.FAULT, touched=0, access="reads", pc=0x20000)
IN_KERNEL = Run(End.FAULT, touched=0, access="reads", pc=0xFFFFFFFF81000000, function="memcpy")
FAR = Run(End.FAULT, touched=0x1000, access="reads", pc=0x20000)
LISTS = (
    ("bpf_tramp_links", "links", "nr_links"),
    ("bpf_tramp_nodes", "nodes", "nr_nodes"),
    ("bpf_tramp_progs", "progs", "nr_progs"),
)
HIERARCHY, OFFSET = "jit/hierarchy", "jit/count-offset"


class Program(NamedTuple):
    """What is run: how many calls of functions it has, its stack in bytes, the constant that it fills its stack with
    (None: it does not), if its tail call is direct, and the kinds of tracers of the called function (FENTRY 0, FEXIT 1)
    with the flags of their trampoline.
    """

    calls: int
    stack: int
    fill: int | None
    direct: bool
    traced: tuple[int, ...] = ()
    flags: int = 0


Counts = Callable[[Program], "int | Run"]


def _insns(scene: Any, program: int) -> list[tuple[int, int, int]]:
    """Returns opcode, registers and constant of a program's instructions."""
    size = scene.objects.get(program, "bpf_prog", "len")
    data = scene.machine.read(program + scene.layout.place("bpf_prog", "insnsi"), 8 * size)
    return [
        (data[at], data[at + 1], int.from_bytes(data[at + 4 : at + 8], "little", signed=True))
        for at in range(0, len(data), 8)
    ]


def _aux(scene: Any, program: int) -> int:
    return int(scene.objects.get(program, "bpf_prog", "aux"))


def _described(scene: Any, program: int) -> Program:
    insns = _insns(scene, program)
    stack = scene.objects.get(_aux(scene, program), "bpf_prog_aux", "stack_depth")
    fills = [constant for code, _, constant in insns if code == 0x7A]
    # A program that fills its stack fills all of it.
    assert len(fills) <= 1 or 8 * len(fills) == stack
    direct = bool(scene.objects.get(_aux(scene, program), "bpf_prog_aux", "poke_tab"))
    calls = sum(code == 0x85 for code, _, _ in insns)
    return Program(calls, stack, fills[0] if len(fills) > 1 else None, direct, *scene.state.get("traced", ((), 0)))


def _check_calls(scene: Any, program: int) -> None:
    """Asserts that each call of a function leads to the compiled one, counted from the kernel's base of calls."""
    base = scene.kernel.function(CALL_BASE)
    for code, registers, constant in _insns(scene, program):
        if code == 0x85:
            assert registers >> 4 == 1
            table = scene.objects.get(_aux(scene, program), "bpf_prog_aux", "func")
            assert scene.objects.get(_aux(scene, program), "bpf_prog_aux", "func_cnt") == 2
            called = scene.machine.word(table + 8)
            assert (constant + base - scene.objects.get(called, "bpf_prog", "bpf_func")) % (1 << 32) == 0


def _jumps_are_written(scene: Any, program: int) -> bool:
    table = scene.objects.get(_aux(scene, program), "bpf_prog_aux", "poke_tab")
    place = (
        [scene.objects.get(table, "bpf_jit_poke_descriptor", f"tail_call.{name}") for name in ("map", "key")]
        if table
        else []
    )
    return not table or tuple(place) in scene.state.get("poked", ())


def compiling(
    counts: Counts, *, jumps: bool = True, hits: Callable[[int], int] = lambda entries: entries, **odd: Any
) -> PlayedKernel:
    """Returns a kernel whose JIT compiles, and whose programs are entered as often as `counts` returns.

    `jumps`: it makes jumps of direct tail calls. `hits` is how often a tracer is called, by the entries. `odd` are
    steps that it does otherwise: "jits" (0: it leaves a program as it is), "returned", "moves", "prepared", "written".
    """

    def jit(scene: Any, program: int) -> int | Run:
        if "ends" in odd:
            return odd["ends"]  # type: ignore[no-any-return]
        objects, machine = scene.objects, scene.machine
        size = machine.allocate(8)
        header = scene.ask("bpf_jit_binary_alloc", 256, size)
        image = machine.word(size)
        assert image > header
        if not objects.get(program, "bpf_prog", "bpf_func") or "moves" in odd:
            objects.set(program, "bpf_prog", "bpf_func", image)
            scene.state[image] = program
        objects.set(program, "bpf_prog", "jited", odd.get("jits", 1))
        table = objects.get(_aux(scene, program), "bpf_prog_aux", "poke_tab")
        if table and jumps:
            objects.set(table, "bpf_jit_poke_descriptor", "tailcall_target", image)
            of = objects.get(table, "bpf_jit_poke_descriptor", "aux")
            assert objects.get(of, "bpf_prog_aux", "poke_tab") == table
        is_tracer = objects.get(program, "bpf_prog", "type") == scene.bench.number(
            "bpf_prog_type", "BPF_PROG_TYPE_TRACING"
        )
        assert bool(objects.get(_aux(scene, program), "bpf_prog_aux", "tail_call_reachable")) is not is_tracer
        if objects.get(program, "bpf_prog", "is_func"):
            # The functions of one program share a reachable tail call, and a count that all of them belong to.
            assert objects.get(_aux(scene, program), "bpf_prog_aux", "main_prog_aux")
            assert objects.get(_aux(scene, program), "bpf_prog_aux", "tail_call_reachable")
        return int(odd.get("returned", program))

    def emitted(scene: Any, context: int, instructions: int) -> int | Run:
        assert context
        program = instructions - scene.layout.place("bpf_prog", "insnsi")
        shape = _described(scene, program)
        array_entries = counts(shape)
        if isinstance(array_entries, Run):
            return array_entries
        _check_calls(scene, program)
        if jumps and not _jumps_are_written(scene, program):
            array_entries = 1
        counter = next(
            constant for code, registers, constant in _insns(scene, program) if code == 0x18 and registers == 1
        )
        scene.machine.write(counter, array_entries.to_bytes(8, "little"))
        if shape.traced:
            # The traced function begins with a call of the trampoline.
            code = scene.machine.read(scene.state["target"], 5)
            assert code[0] == 0xE8
            assert scene.state["target"] + 5 + int.from_bytes(code[1:], "little", signed=True) == scene.state["image"]
            scene.machine.write(scene.state["hits"], hits(array_entries).to_bytes(8, "little"))
        return 0

    def poke_run(scene: Any, array: int, key: int, old: int, new: int) -> int | Run:
        place = array + scene.layout.place("bpf_array", "ptrs") + 8 * key
        assert (old, scene.machine.word(place)) == (0, new)
        scene.state.setdefault("poked", set()).add((array, key))
        return odd.get("poked", 0)  # type: ignore[no-any-return]

    def prepare(
        scene: Any, name: int, image: int, end: int, model: int, flags: int, lists: int, target: int
    ) -> int | Run:
        assert name and end > image
        assert scene.objects.get(model, "btf_func_model", "nr_args") == 1
        struct, programs, number = next(row for row in LISTS if scene.layout.has(row[0]))
        kinds = tuple(kind for kind in (0, 1, 2) if scene.objects.get(lists + 4096 * kind, struct, number))
        scene.state["traced"], scene.state["image"], scene.state["target"] = (kinds, flags), image, target
        tracer = scene.machine.word(lists + 4096 * kinds[0] + scene.layout.place(struct, programs))
        if struct == "bpf_tramp_links":
            tracer = scene.objects.get(tracer, "bpf_tramp_link", "link.prog")
        elif struct == "bpf_tramp_nodes":
            tracer = scene.objects.get(scene.objects.get(tracer, "bpf_tramp_node", "link"), "bpf_link", "prog")
        insns = _insns(scene, tracer)
        scene.state["hits"] = next(constant for code, registers, constant in insns if code == 0x18 and registers == 1)
        scene.machine.write(image, bytes([odd.get("written", 0x90)]) * 16)
        scene.machine.write(target, bytes.fromhex(odd.get("begins", "0f1f440000")))
        return odd.get("prepared", 300)  # type: ignore[no-any-return]

    plays: dict[str, Play] = {JIT: jit, CALL_BASE: lambda *_: 0, RUN: poke_run, PREPARE: prepare, "emitted": emitted}
    return PlayedKernel(plays, {JIT: odd.get("parameters", ["prog"])}, lacks=odd.get("lacks", ()))


def found(played: PlayedKernel, case: str) -> Outcome:
    answer = outcome(played, {**CASES, **TRACED}[case])
    assert isinstance(answer, Finding), answer
    return answer.outcome


def why(played: PlayedKernel, case: str) -> Why:
    answer = outcome(played, {**CASES, **TRACED}[case])
    assert isinstance(answer, EmulationError), answer
    return answer.why


def healthy(_: Program) -> int:
    return 34


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
    assert {(item.traced, item.flags) for item in seen if item.traced} == {(KINDS[case], flags)}


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


@pytest.mark.parametrize("member", ["tailcall_target", "tailcall_bypass", "bypass_addr", "tailcall_target_stable"])
def test_a_release_whose_jumps_are_described_otherwise_is_a_reason(member: str) -> None:
    """Without descriptors the direct way would not be run, and a JIT that loses the count there would look sound."""
    played = compiling(healthy, jumps=member != "tailcall_target", lacks=(f"bpf_jit_poke_descriptor.{member}",))
    assert why(played, HIERARCHY) is Why.NO_MEMBER


def test_an_architecture_whose_traced_functions_are_not_known_is_a_reason() -> None:
    played = compiling(healthy)
    played.isa = isa_of("riscv64")
    for case in TRACED:
        assert why(played, case) is Why.NO_MACHINE


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
