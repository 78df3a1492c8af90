"""Cases of the trampoline that fentry and fexit programs are called through.

Three places have to keep the count of tail calls: the emitted trampoline carries it when it is asked to, an update of the trampoline must
keep that wish, and the verifier must express it when a program is attached to one that tail-calls. Each is a case.
"""

from __future__ import annotations

from functools import partial

from tailcall_audit.analyzer.emulator.calls import Call, End, Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.compiler import Compiled, Function, compile_program, jit_stubs
from tailcall_audit.analyzer.readers.emulation.jit import controls, count, entry, subprogram
from tailcall_audit.analyzer.readers.emulation.scene import ProgramKind, Scene
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Outcome, Stage, control
from tailcall_audit.probes.kernel.instructions import R0, R1, R2, Insn, encode
from tailcall_audit.probes.kernel.programs import HEALTHY, LIMIT

__all__ = ["CASES", "SYMBOLS"]

_PREPARE, _CHECK, _LINK, _SIZE = (
    "arch_prepare_bpf_trampoline",
    "bpf_check",
    "bpf_trampoline_link_prog",
    "arch_bpf_trampoline_size",
)
_RESTORE_REGS, _CALL_ORIG, _SKIP_FRAME, _SHARE_IPMODIFY, _TAIL_CALL_CTX = 1, 2, 4, 64, 128
"""BPF_TRAMP_F_… (Linux include/linux/bpf.h)."""
_FENTRY, _FEXIT = 0, 1
"""enum bpf_tramp_prog_type."""
_KINDS = 8
"""At least BPF_TRAMP_MAX."""
_PAGE = 4096
_LISTS = (
    ("bpf_tramp_links", "links", "nr_links"),
    ("bpf_tramp_nodes", "nodes", "nr_nodes"),
    ("bpf_tramp_progs", "progs", "nr_progs"),
)
"""How a release lists the programs of a trampoline: programs before v6.0, links, nodes since v7.1."""
_NO_MEMORY = -12


class _Traced:
    """A compiled program whose second function tail-calls, and a compiled tracer that counts its calls."""

    def __init__(self, stage: Stage) -> None:
        enters = dict.fromkeys(_ENTERS, lambda _: 1)
        leaves = dict.fromkeys(_LEAVES, lambda _: 0)
        self.scene: Scene = stage.scene({**jit_stubs(), **enters, **leaves})
        self.array = self.scene.prog_array()
        self.counter, self.hits = self.scene.machine.allocate(8), self.scene.machine.allocate(8)
        functions = [Function(entry(self.counter, 1, 8), 8), Function(subprogram(self.array))]
        self.compiled: Compiled = compile_program(self.scene, "XDP", functions)
        self.tracer = compile_program(self.scene, "TRACING", [Function(_counting(self.hits))], reaches_tail_call=False)

    def trace(self, kinds: tuple[int, ...]) -> None:
        """Let the kernel make a trampoline for these kinds of tracers, and call it from the start of the traced function."""
        scene, target = self.scene, self.compiled.entries[1]
        image = scene.machine.allocate_code(_PAGE)
        model = scene.objects.new("btf_func_model", {"ret_size": 8, "nr_args": 1})
        scene.machine.write(model + scene.layout.place("btf_func_model", "arg_size"), b"\x08")
        flags = (_CALL_ORIG | _SKIP_FRAME if _FEXIT in kinds else _RESTORE_REGS) | _TAIL_CALL_CTX
        name = scene.machine.allocate(_PAGE)
        run = scene.call(_PREPARE, name, image, image + _PAGE, model, flags, self._lists(kinds), target)
        if run.end is not End.RETURNED:
            raise EmulationError(Why.UNEXPECTED_FAULT, f"{_PREPARE}() {run.describe()}")
        control(run.value & 0x8000_0000 == 0, f"{_PREPARE}() returns an error")
        control(any(scene.machine.read(image, 16)), f"{_PREPARE}() writes nothing")
        traced = scene.bench.isa.traced
        if traced is None:
            raise EmulationError(Why.NO_MACHINE, f"how a traced function begins on {scene.bench.isa.name}")
        change = traced(scene.machine.read(target, 64), target, image)
        control(change is not None, "the traced function does not begin with room for a call")
        if change is not None:
            scene.machine.write(target + change[0], change[1])

    def _lists(self, kinds: tuple[int, ...]) -> int:
        """What the release's trampoline takes its programs from."""
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
    """What a trampoline's list of this kind holds of a program: itself, a link, or a node of one."""
    objects = scene.objects
    if struct == "bpf_tramp_progs":
        return program
    if struct == "bpf_tramp_nodes":
        return objects.new("bpf_tramp_node", {"link": objects.new("bpf_link", {"prog": program})})
    return objects.new("bpf_tramp_link", {"link.prog": program})


def _counting(hits: int) -> list[Insn]:
    """A tracer: counts its calls and returns 0."""
    return [
        Insn(0x18, R1, imm=hits),
        Insn(0x79, R2, R1),
        Insn(0x07, R2, imm=1),
        Insn(0x7B, R1, R2),
        Insn(0xB7, R0),
        Insn(0x95),
    ]


def _carries(stage: Stage, kinds: tuple[int, ...], words: str) -> Finding:
    """The trampoline is asked to carry the count."""
    controls(stage)
    traced = _Traced(stage)
    traced.trace(kinds)
    entries = count(traced.scene, traced.compiled, traced.array, traced.counter)
    hits = traced.scene.machine.word(traced.hits)
    control(hits >= min(entries, HEALTHY) - 1, f"the tracer is called {hits} times in {entries} entries")
    outcome = Outcome.STOPS if entries == HEALTHY else Outcome.LOOPS if entries > LIMIT else Outcome.MISCOUNTS
    address = stage.bench.kernel.function(_PREPARE)
    return Finding(
        outcome,
        f"{_PREPARE}() at {address:#x}, asked for BPF_TRAMP_F_TAIL_CALL_CTX, emits code that makes {entries} entries"
        f" under {words}, which is called {hits} times (healthy: {HEALTHY}, stopped after {LIMIT})",
    )


def _kept(stage: Stage) -> Finding:
    """An update of the trampoline asks for code with flags of its own, and must leave this one in."""
    control(_updated(stage, 0) & _TAIL_CALL_CTX == 0, "a trampoline that was not asked to carries the count")
    flags = _updated(stage, _TAIL_CALL_CTX)
    kept = bool(flags & _TAIL_CALL_CTX)
    address = stage.bench.kernel.function(_LINK)
    words = f"{_LINK}() at {address:#x}, of a trampoline with BPF_TRAMP_F_TAIL_CALL_CTX, asks for code with the flags {flags:#x}"
    return Finding(Outcome.DONE if kept else Outcome.NOT_DONE, words)


def _updated(stage: Stage, before: int) -> int:
    """The flags with which an update asks for the trampoline's code."""
    seen: list[int] = []

    def flags_in(argument: int, call: Call) -> int:
        seen.append(call.argument(argument) & 0xFFFF_FFFF)
        return _NO_MEMORY

    def executable(call: Call) -> int:
        return call.machine.allocate_code(_PAGE)

    scene = stage.scene(
        {
            **{name: (lambda _: 0) for name in _IMAGE},
            **dict.fromkeys(_EXECUTABLE, executable),
            _PREPARE: partial(flags_in, 4),
            _SIZE: partial(flags_in, 1),
        }
    )
    fentry = scene.bench.number("bpf_attach_type", "BPF_TRACE_FENTRY")
    tracer = scene.program(ProgramKind("TRACING", program={"expected_attach_type": fentry}, target=ProgramKind("XDP")))
    target = scene.program(ProgramKind("XDP", aux={"tail_call_reachable": 1}))
    trampoline = scene.objects.new("bpf_trampoline", {"flags": before, "func.addr": target})
    scene.layout.need("bpf_trampoline", "flags")
    parameters = scene.layout.parameters(_LINK) or ["link"]
    struct = {"prog": "bpf_tramp_progs", "node": "bpf_tramp_nodes"}.get(parameters[0], "bpf_tramp_links")
    run = scene.call(_LINK, link_of(scene, struct, tracer), trampoline, target)
    if not seen:
        raise EmulationError(Why.CONTROL, f"{_LINK}() asks for no code: {run.describe()}")
    control(seen[0] & (_RESTORE_REGS | _CALL_ORIG) == _RESTORE_REGS, f"{_LINK}() asks for the flags {seen[0]:#x}")
    return seen[0]


_EXECUTABLE = ("bpf_jit_alloc_exec_page", "bpf_jit_alloc_exec", "arch_alloc_bpf_trampoline")
_IMAGE = [
    "bpf_jit_charge_modmem",
    "bpf_jit_uncharge_modmem",
    "percpu_ref_init",
    "bpf_image_ksym_add",
    "bpf_image_ksym_init",
    "bpf_image_ksym_del",
    "set_vm_flush_reset_perms",
]


_IN_USE = _CALL_ORIG | _SKIP_FRAME | _SHARE_IPMODIFY
"""Flags of a trampoline that other programs are attached to already."""


def _flags_after(stage: Stage, reaches: int) -> int:
    """The flags that attaching leaves in a trampoline in use, run once for both cases that look at them."""
    return stage.once(("attached", reaches), partial(_attached, reaches=reaches))


def _wished(stage: Stage) -> Finding:
    """Attaching to a program that tail-calls must ask the trampoline to carry the count."""
    flags = _flags_after(stage, reaches=0)
    control(flags & _TAIL_CALL_CTX == 0, "attaching to a program without tail calls asks for it too")
    flags = _flags_after(stage, reaches=1)
    outcome = Outcome.DONE if flags & _TAIL_CALL_CTX else Outcome.NOT_DONE
    address = stage.bench.kernel.function(_CHECK)
    return Finding(
        outcome,
        f"{_CHECK}() at {address:#x} leaves the flags {flags:#x} in the trampoline of a program that tail-calls"
        f" (BPF_TRAMP_F_TAIL_CALL_CTX is {_TAIL_CALL_CTX:#x})",
    )


def _added(stage: Stage) -> Finding:
    """The wish is added to the flags that a trampoline in use has."""
    flags = _flags_after(stage, reaches=0)
    control(flags == _IN_USE, f"attaching to a program without tail calls leaves {flags:#x} of {_IN_USE:#x}")
    flags = _flags_after(stage, reaches=1)
    address = stage.bench.kernel.function(_CHECK)
    words = f"{_CHECK}() at {address:#x} leaves the flags {flags:#x} in a trampoline that has {_IN_USE:#x}"
    return Finding(Outcome.DONE if flags & _IN_USE == _IN_USE else Outcome.NOT_DONE, words)


def _attached(stage: Stage, reaches: int) -> int:
    """The trampoline's flags after the verifier was handed a tracer of a program; how the rest of the verifier ends is of no interest."""
    trampolines: list[int] = []
    stubs = {
        **dict.fromkeys(_PERMITTED, lambda _: 1),
        **dict.fromkeys(_PASSED, lambda _: 0),
        "btf_parse_vmlinux": lambda call: call.machine.allocate(_PAGE),
        "bpf_get_btf_vmlinux": lambda call: call.machine.allocate(_PAGE),
        "bpf_trampoline_get": lambda _: trampolines[0],
    }
    scene = stage.scene(stubs)
    number = scene.bench.number("bpf_attach_type", "BPF_TRACE_FENTRY")
    target = ProgramKind("XDP", aux={"tail_call_reachable": reaches})
    members = {"expected_attach_type": number}
    # The first type of a program's BTF. 0 would be among the functions that nobody may trace, as those are that this kernel lacks.
    tracer = scene.program(ProgramKind("TRACING", program=members, aux={"attach_btf_id": 1}, target=target))
    code = encode([Insn(0xB7, R0), Insn(0x95)])
    scene.machine.write(tracer + scene.layout.place("bpf_prog", "insnsi"), code)
    trampolines.append(scene.objects.new("bpf_trampoline", {"flags": _IN_USE}))
    scene.layout.need("bpf_trampoline", "flags")
    if (pointer := scene.kernel.find("btf_vmlinux")) is not None:
        scene.machine.write(pointer, scene.machine.allocate(_PAGE).to_bytes(8, "little"))
    cell = scene.machine.allocate(8)
    scene.machine.write(cell, tracer.to_bytes(8, "little"))
    attributes = scene.machine.allocate(_PAGE)
    how = _run(scene, cell, attributes)
    aux = scene.objects.get(tracer, "bpf_prog", "aux")
    reached = scene.objects.get(aux, "bpf_prog_aux", "dst_trampoline") == trampolines[0]
    control(reached, f"{_CHECK}() does not come to the trampoline: {how}")
    return scene.objects.get(trampolines[0], "bpf_trampoline", "flags")


def _run(scene: Scene, cell: int, attributes: int) -> str:
    """Call the verifier: (&program, attributes, where they are from, whether from the kernel, their size or a log)."""
    log = scene.machine.allocate(_PAGE)
    try:
        run: Run = scene.call(_CHECK, cell, attributes, attributes, 1, log)
    except EmulationError as error:
        if error.why in (Why.NO_FUNCTION, Why.SEVERAL_FUNCTIONS):
            raise
        return str(error)
    return run.describe()


_PERMITTED = ("capable", "ns_capable", "bpf_capable", "perfmon_capable", "bpf_token_capable", "bpf_token_allow_cmd")
_PASSED = ("ktime_get", "ktime_get_ns", "security_bpf_prog_load", "bpf_check_attach_target", "bpf_prog_calc_tag")

CASES: dict[str, Case] = {
    "trampoline/carries-fentry": partial(_carries, kinds=(_FENTRY,), words="an fentry program"),
    "trampoline/carries-fexit": partial(_carries, kinds=(_FEXIT,), words="an fexit program"),
    "trampoline/carries-both": partial(_carries, kinds=(_FENTRY, _FEXIT), words="an fentry and an fexit program"),
    "trampoline/keeps-wish": _kept,
    "trampoline/wishes": _wished,
    "trampoline/adds-wish": _added,
}
"""By the name that the catalogue calls them by."""

SYMBOLS = frozenset(
    (_PREPARE, _CHECK, _LINK, _SIZE, "btf_vmlinux", "btf_parse_vmlinux", "bpf_get_btf_vmlinux", "bpf_trampoline_get")
).union(_ENTERS, _LEAVES, _IMAGE, _PERMITTED, _PASSED, _EXECUTABLE)
