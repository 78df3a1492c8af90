"""Cases of the flag that asks a trampoline to carry the count of tail calls, BPF_TRAMP_F_TAIL_CALL_CTX.

The verifier must set it when a program is attached to one that tail-calls, an update of the trampoline must keep it,
and the trampoline must heed it (`tailcall_audit.analyzer.readers.emulation.trampoline`). All three must mean the same
flag. Each is a case.
"""

from __future__ import annotations

from functools import partial

from tailcall_audit.analyzer.emulator.calls import Call, Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.scene import ProgramKind, Scene
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Outcome, Stage, control
from tailcall_audit.analyzer.readers.emulation.trampoline import (
    CALL_ORIG,
    FENTRY,
    PREPARE,
    RESTORE_REGS,
    SHARE_IPMODIFY,
    SKIP_FRAME,
    TAIL_CALL_CTX,
    link_of,
    traced,
)
from tailcall_audit.probes.kernel.assembler import R0
from tailcall_audit.probes.kernel.instructions import Insn, encode

__all__ = ["CASES", "SYMBOLS"]

_CHECK, _LINK, _SIZE = "bpf_check", "bpf_trampoline_link_prog", "arch_bpf_trampoline_size"
_NAMES = {
    RESTORE_REGS: "RESTORE_REGS",
    CALL_ORIG: "CALL_ORIG",
    SKIP_FRAME: "SKIP_FRAME",
    SHARE_IPMODIFY: "SHARE_IPMODIFY",
    TAIL_CALL_CTX: "TAIL_CALL_CTX",
}
"""The flags of a trampoline, without BPF_TRAMP_F_ (Linux include/linux/bpf.h)."""
_PAGE = 4096
_NO_MEMORY = -12


def _kept(stage: Stage) -> Finding:
    """Updates a trampoline: the update asks for code with its own flags, and must keep this one."""
    control(_updated(stage, 0) & TAIL_CALL_CTX == 0, "a trampoline that was not asked to carries the count")
    flags = _updated(stage, TAIL_CALL_CTX)
    kept = bool(flags & TAIL_CALL_CTX)
    address = stage.bench.kernel.function(_LINK)
    words = (
        f"{_LINK}() at {address:#x}, of a trampoline with BPF_TRAMP_F_TAIL_CALL_CTX, asks for code with {_named(flags)}"
    )
    return Finding(Outcome.DONE if kept else Outcome.NOT_DONE, words)


def _updated(stage: Stage, before: int) -> int:
    """Returns the flags with which an update asks for the trampoline's code."""
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
            PREPARE: partial(flags_in, 4),
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
    control(seen[0] & (RESTORE_REGS | CALL_ORIG) == RESTORE_REGS, f"{_LINK}() asks for the flags {seen[0]:#x}")
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


_IN_USE = CALL_ORIG | SKIP_FRAME | SHARE_IPMODIFY
"""Flags of a trampoline that other programs are attached to already."""


def _flags_after(stage: Stage, reaches: int) -> int:
    """Returns the flags that attaching leaves in a trampoline in use, run once for both cases that look at them."""
    return stage.once(("attached", reaches), partial(_attached, reaches=reaches))


def _wished(stage: Stage) -> Finding:
    """Attaches to a program that tail-calls: this must ask the trampoline to carry the count."""
    flags = _flags_after(stage, reaches=0)
    control(flags & TAIL_CALL_CTX == 0, "attaching to a program without tail calls asks for it too")
    flags = _flags_after(stage, reaches=1)
    outcome = Outcome.DONE if flags & TAIL_CALL_CTX else Outcome.NOT_DONE
    address = stage.bench.kernel.function(_CHECK)
    return Finding(
        outcome,
        f"{_CHECK}() at {address:#x}, loading a tracer of a program that tail-calls, leaves {_named(flags)} in its trampoline",
    )


def _named(flags: int) -> str:
    """Returns a trampoline's flags by their names, and as a number."""
    known = " | ".join(name for bit, name in _NAMES.items() if flags & bit)
    return f"{known or 'other flags'} ({flags:#x})" if flags else "no flag"


def _one_flag(stage: Stage) -> Finding:
    """Returns DONE if the flag that the verifier sets is the one that an update keeps and that the trampoline heeds: it
    is one macro of bpf.h.
    """
    wish = _flags_after(stage, reaches=1) & ~_flags_after(stage, reaches=0)
    address = stage.bench.kernel.function(_CHECK)
    words = f"{_CHECK}() at {address:#x} adds {_named(wish)} to the trampoline of a program that tail-calls"
    if not wish:
        return Finding(Outcome.NOT_DONE, words)
    asked = stage.once(("updated", wish), partial(_updated, before=wish)) & wish
    outcome, came = traced(stage, (FENTRY,), asked)
    return Finding(
        outcome,
        f"{words}, {_LINK}() asks for code with {_named(asked)} of that, and {PREPARE}() makes a trampoline that {came}",
    )


def _added(stage: Stage) -> Finding:
    """Attaches to a program with a trampoline in use: the flag must be added to that trampoline's flags."""
    flags = _flags_after(stage, reaches=0)
    control(flags == _IN_USE, f"attaching to a program without tail calls leaves {flags:#x} of {_IN_USE:#x}")
    flags = _flags_after(stage, reaches=1)
    address = stage.bench.kernel.function(_CHECK)
    words = f"{_CHECK}() at {address:#x} leaves {_named(flags)} in a trampoline that has {_named(_IN_USE)}"
    return Finding(Outcome.DONE if flags & _IN_USE == _IN_USE else Outcome.NOT_DONE, words)


def _attached(stage: Stage, reaches: int) -> int:
    """Returns the trampoline's flags after the verifier was given a tracer of a program; the rest of the verifier's
    work does not matter.
    """
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
    # The first type of a program's BTF. 0 would count as a function that must not be traced, like those that this kernel lacks.
    tracer = scene.program(ProgramKind("TRACING", program=members, aux={"attach_btf_id": 1}, target=target))
    code = encode([Insn(0xB7, R0), Insn(0x95)])
    scene.machine.write(tracer + scene.layout.place("bpf_prog", "insnsi"), code)
    trampolines.append(scene.objects.new("bpf_trampoline", {"flags": _IN_USE}))
    scene.layout.need("bpf_trampoline", "flags")
    if (pointer := scene.kernel.find("btf_vmlinux")) is not None:
        scene.machine.write(pointer, scene.machine.allocate(_PAGE).to_bytes(8, "little"))
    aux = scene.objects.get(tracer, "bpf_prog", "aux")
    place = aux + scene.layout.place("bpf_prog_aux", "dst_trampoline")
    written: list[int] = []
    scene.machine.watch_writes(place, 8, lambda where, *_: written.append(where))
    # A compiler may write the flags behind the pointer to the trampoline, but not behind the next call.
    scene.enough = lambda: bool(written)
    cell = scene.machine.allocate(8)
    scene.machine.write(cell, tracer.to_bytes(8, "little"))
    attributes = scene.machine.allocate(_PAGE)
    how = _run(scene, cell, attributes)
    reached = scene.objects.get(aux, "bpf_prog_aux", "dst_trampoline") == trampolines[0]
    control(reached, f"{_CHECK}() does not come to the trampoline: {how}")
    return scene.objects.get(trampolines[0], "bpf_trampoline", "flags")


def _run(scene: Scene, cell: int, attributes: int) -> str:
    """Calls the verifier: (&program, attributes, user or kernel pointers, their size or a log)."""
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
    "trampoline/keeps-wish": _kept,
    "trampoline/wishes": _wished,
    "trampoline/one-flag": _one_flag,
    "trampoline/adds-wish": _added,
}
"""The cases, by the names that the catalogue has for them."""

SYMBOLS = frozenset(
    (PREPARE, _CHECK, _LINK, _SIZE, "btf_vmlinux", "btf_parse_vmlinux", "bpf_get_btf_vmlinux", "bpf_trampoline_get")
).union(_IMAGE, _PERMITTED, _PASSED, _EXECUTABLE)
