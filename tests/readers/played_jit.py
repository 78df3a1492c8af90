"""Kernels whose JIT is played by Python functions: what they compile is entered as often as a test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tailcall_audit.analyzer.emulator.calls import End, Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.compiler import CALL_BASE, JIT
from tailcall_audit.analyzer.readers.emulation.jit import CASES
from tailcall_audit.analyzer.readers.emulation.jumps import RUN
from tailcall_audit.analyzer.readers.emulation.stage import Finding, Outcome
from tailcall_audit.analyzer.readers.emulation.trampoline import CASES as TRACED
from tailcall_audit.analyzer.readers.emulation.trampoline import PREPARE
from tests.readers.played import Play, PlayedKernel, outcome

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
        # A prog_array has programs, and not their other functions.
        assert scene.objects.get(_aux(scene, new), "bpf_prog_aux", "func_idx") == 0
        scene.state.setdefault("poked", set()).add((array, key))
        return odd.get("poked", 0)  # type: ignore[no-any-return]

    def prepare(
        scene: Any, name: int, image: int, end: int, model: int, flags: int, lists: int, target: int
    ) -> int | Run:
        assert name and end > image
        assert scene.objects.get(model, "btf_func_model", "nr_args") == 1
        assert scene.machine.read(model + scene.layout.place("btf_func_model", "arg_size"), 1) == b"\x08"
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
