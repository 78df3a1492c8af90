"""Cases of the trampoline through which fentry and fexit programs are called: its code must keep the count of tail
calls.

`tailcall_audit.analyzer.readers.emulation.trampoline_flags` has the cases of the code that asks for this.
"""

from __future__ import annotations

from functools import partial

from tailcall_audit.analyzer.emulator.calls import End
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.compiler import Compiled, Function, compile_program, jit_stubs
from tailcall_audit.analyzer.readers.emulation.jit import (
    NORMAL,
    LostCountError,
    Way,
    controls,
    count,
    entry,
    every_way,
    in_words,
    judge,
    subprogram,
)
from tailcall_audit.analyzer.readers.emulation.jumps import put
from tailcall_audit.analyzer.readers.emulation.scene import Scene
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Outcome, Stage, control
from tailcall_audit.probes.kernel.assembler import R0, R1, R2
from tailcall_audit.probes.kernel.instructions import Insn
from tailcall_audit.probes.kernel.programs import HEALTHY

__all__ = [
    "CALL_ORIG",
    "CASES",
    "FENTRY",
    "PREPARE",
    "RESTORE_REGS",
    "SHARE_IPMODIFY",
    "SKIP_FRAME",
    "SYMBOLS",
    "TAIL_CALL_CTX",
    "link_of",
    "traced",
]

PREPARE = "arch_prepare_bpf_trampoline"
RESTORE_REGS, CALL_ORIG, SKIP_FRAME, SHARE_IPMODIFY, TAIL_CALL_CTX = 1, 2, 4, 64, 128
"""BPF_TRAMP_F_… (Linux include/linux/bpf.h)."""
FENTRY, _FEXIT = 0, 1
"""enum bpf_tramp_prog_type."""
_KINDS = 8
"""At least BPF_TRAMP_MAX."""
_PAGE = 4096
_LISTS = (
    ("bpf_tramp_links", "links", "nr_links"),
    ("bpf_tramp_nodes", "nodes", "nr_nodes"),
    ("bpf_tramp_progs", "progs", "nr_progs"),
)
"""How a release lists the programs of a trampoline: as programs before v6.0, then as links, and as nodes since v7.1."""


class _Traced:
    """A compiled program whose second function tail-calls, and a compiled tracer that counts its calls. `compiles` is
    False if the JIT makes no jump of a direct tail call.
    """

    def __init__(self, scene: Scene, way: Way) -> None:
        self.scene = scene
        self.array = scene.prog_array()
        self.counter, self.hits = scene.machine.allocate(8), scene.machine.allocate(8)
        functions = [Function(entry(self.counter, 1, 0)), subprogram(self.array, way.jump(self.array))]
        self.compiled: Compiled = compile_program(scene, "XDP", functions)
        self.compiles = self.compiled.jumps or not way.direct
        self.tracer = compile_program(scene, "TRACING", [Function(_counting(self.hits))])

    def count(self) -> int:
        """Puts the program into its array and returns how often it is entered; raises EmulationError."""
        put(self.scene, self.array, 0, self.compiled.programs[0], jumps=self.compiled.jumps)
        return count(self.scene, self.compiled, self.counter)

    def trace(self, kinds: tuple[int, ...], wish: int) -> None:
        """Makes the kernel build a trampoline for these kinds of tracers, with the flag `wish`, and calls it from the
        start of the traced function.
        """
        scene, target = self.scene, self.compiled.entries[1]
        image = scene.machine.allocate_code(_PAGE)
        model = scene.objects.new("btf_func_model", {"ret_size": 8, "nr_args": 1})
        scene.machine.write(model + scene.layout.place("btf_func_model", "arg_size"), b"\x08")
        flags = (CALL_ORIG | SKIP_FRAME if _FEXIT in kinds else RESTORE_REGS) | wish
        name = scene.machine.allocate(_PAGE)
        run = scene.call(PREPARE, name, image, image + _PAGE, model, flags, self._lists(kinds), target)
        if run.end is not End.RETURNED:
            raise EmulationError(Why.UNEXPECTED_FAULT, f"{PREPARE}() {run.describe()}")
        control(run.value & 0x8000_0000 == 0, f"{PREPARE}() returns an error")
        control(any(scene.machine.read(image, 16)), f"{PREPARE}() writes nothing")
        isa = scene.bench.isa
        if not isa.is_traced:
            raise EmulationError(Why.NO_MACHINE, f"how a traced function begins on {isa.name}")
        change = isa.traced(scene.machine.read(target, 64), target, image)
        control(change is not None, "the traced function does not begin with room for a call")
        if change is not None:
            scene.machine.write(target + change[0], change[1])

    def _lists(self, kinds: tuple[int, ...]) -> int:
        """Returns the structure that the release's trampoline takes its programs from."""
        scene = self.scene
        struct, members, number = next((row for row in _LISTS if scene.layout.has(row[0])), ("", "", ""))
        if not struct:
            raise EmulationError(Why.NO_MEMBER, "no list of a trampoline's programs that is known")
        size = scene.layout.size(struct)
        address = scene.machine.allocate(size * _KINDS)
        for kind in kinds:
            place = address + size * kind
            first = place + scene.layout.place(struct, members)
            scene.machine.write(first, self._listed(struct).to_bytes(8, "little"))
            scene.objects.set(place, struct, number, 1)
        return address

    def _listed(self, struct: str) -> int:
        return link_of(self.scene, struct, self.tracer.programs[0])


_ENTERS = [
    "__bpf_prog_enter",
    "__bpf_prog_enter_recur",
    "__bpf_prog_enter_sleepable",
    "__bpf_prog_enter_sleepable_recur",
    "__bpf_prog_enter_lsm_cgroup",
]
_LEAVES = [
    "__bpf_prog_exit",
    "__bpf_prog_exit_recur",
    "__bpf_prog_exit_sleepable",
    "__bpf_prog_exit_sleepable_recur",
    "__bpf_prog_exit_lsm_cgroup",
    "__bpf_tramp_enter",
    "__bpf_tramp_exit",
]


def link_of(scene: Scene, struct: str, program: int) -> int:
    """Returns the entry of a program in a trampoline's list of this kind: the program itself, a link, or a node of one."""
    objects = scene.objects
    if struct == "bpf_tramp_progs":
        return program
    if struct == "bpf_tramp_nodes":
        return objects.new("bpf_tramp_node", {"link": objects.new("bpf_link", {"prog": program})})
    return objects.new("bpf_tramp_link", {"link.prog": program})


def _counting(hits: int) -> list[Insn]:
    """Returns a tracer that counts its calls and returns 0."""
    return [
        Insn(0x18, R1, imm=hits),
        Insn(0x79, R2, R1),
        Insn(0x07, R2, imm=1),
        Insn(0x7B, R1, R2),
        Insn(0xB7, R0),
        Insn(0x95),
    ]


def traced(stage: Stage, kinds: tuple[int, ...], wish: int) -> tuple[Outcome, str]:
    """Runs a program that calls a traced, tail-calling function; returns the outcome and its description. Raises
    EmulationError.
    """
    controls(stage)
    return stage.once(("traced", kinds, wish), partial(_traced, kinds=kinds, wish=wish))


def _traced(stage: Stage, kinds: tuple[int, ...], wish: int) -> tuple[Outcome, str]:
    scene = stage.scene({**jit_stubs(), **dict.fromkeys(_ENTERS, lambda _: 1), **dict.fromkeys(_LEAVES, lambda _: 0)})
    hits: dict[str, int] = {}

    def make(way: Way) -> int | None:
        found = _Traced(scene, way)
        if not found.compiles:
            return None
        found.trace(kinds, wish)
        entries = found.count()
        hits[way.name] = scene.machine.word(found.hits)
        control(
            hits[way.name] >= min(entries, HEALTHY) - 1,
            f"the tracer is called {hits[way.name]} times in {entries} entries by {way.name} tail call",
        )
        return entries

    try:
        entries = every_way(make)
    except LostCountError as error:
        return Outcome.NULL_DEREFERENCE, f"loses the pointer to the count around {_WORDS[kinds]}: {error.detail}"
    words = f"lets the program in {in_words(entries)} and calls {_WORDS[kinds]} {in_words(hits)}"
    return judge(entries.values()), f"{words} ({NORMAL})"


def _carries(stage: Stage, kinds: tuple[int, ...]) -> Finding:
    """Counts entries through a trampoline that is asked to carry the count."""
    outcome, words = traced(stage, kinds, TAIL_CALL_CTX)
    address = stage.bench.kernel.function(PREPARE)
    return Finding(
        outcome, f"{PREPARE}() at {address:#x}, asked for BPF_TRAMP_F_TAIL_CALL_CTX, makes a trampoline that {words}"
    )


_WORDS = {
    (FENTRY,): "an fentry program",
    (_FEXIT,): "an fexit program",
    (FENTRY, _FEXIT): "an fentry and an fexit program",
}

CASES: dict[str, Case] = {
    "trampoline/carries-fentry": partial(_carries, kinds=(FENTRY,)),
    "trampoline/carries-fexit": partial(_carries, kinds=(_FEXIT,)),
    "trampoline/carries-both": partial(_carries, kinds=(FENTRY, _FEXIT)),
}
"""The cases, by the names that the catalogue has for them."""
SYMBOLS = frozenset((PREPARE,)).union(_ENTERS, _LEAVES)
