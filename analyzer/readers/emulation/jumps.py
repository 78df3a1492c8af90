"""Constant tail calls, which a JIT may compile to jumps: the kernel writes them into a program's code when the
prog_array changes (Linux kernel/bpf/arraymap.c, prog_array_map_poke_run()).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.emulator.calls import Call, End, Stub
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.scene import Scene

__all__ = ["IS_BPF_TEXT", "RUN", "WRITERS", "Jump", "descriptor", "give", "is_compiled", "put", "track", "writing"]

RUN, IS_BPF_TEXT = "prog_array_map_poke_run", "is_bpf_text_address"
WRITERS = ("text_poke_bp", "smp_text_poke_single", "text_poke")
_STRUCT = "bpf_jit_poke_descriptor"
_MOST_WRITTEN = 16


class Jump(NamedTuple):
    """A constant tail call: the address of its prog_array, and the index there."""

    array: int
    key: int


def _write(call: Call) -> int:
    call.machine.write(call.argument(0), call.machine.read(call.argument(1), min(call.argument(2), _MOST_WRITTEN)))
    return 0


def writing(is_known: bool = True) -> Mapping[str, Stub]:
    """Returns the stubs with which jumps are written. `is_known` is False if kallsyms does not know the program."""
    return {IS_BPF_TEXT: lambda _: int(is_known), **dict.fromkeys(WRITERS, _write)}


def descriptor(scene: Scene, jump: Jump, members: Mapping[str, int] | None = None) -> int:
    """Returns the address of a jump's descriptor; `members` are others that are not zero. Raises EmulationError if this
    kernel has no such descriptors.
    """
    for member in ("tailcall_target", "tailcall_bypass", "bypass_addr", "tailcall_target_stable"):
        scene.layout.need(_STRUCT, member)
    reason = scene.bench.number("bpf_jit_poke_reason", "BPF_POKE_REASON_TAIL_CALL")
    plain = {"tailcall_target": 0, "tailcall_bypass": 0, "bypass_addr": 0, "adj_off": 0, "tailcall_target_stable": 0}
    named = {"aux": 0, "reason": reason, "tail_call.map": jump.array, "tail_call.key": jump.key, "insn_idx": 0}
    return scene.objects.new(_STRUCT, {**plain, **named, **(members or {})})


def give(scene: Scene, aux: int, found: int) -> None:
    """Gives a program (its `aux`) one descriptor."""
    scene.objects.set(aux, "bpf_prog_aux", "poke_tab", found)
    scene.objects.set(aux, "bpf_prog_aux", "size_poke_tab", 1)


def track(scene: Scene, array: int, aux: int) -> None:
    """Adds a program (its `aux`) to an array's list of programs with such jumps."""
    machine, objects = scene.machine, scene.objects
    head = objects.get(array, "bpf_array", "aux") + scene.layout.place("bpf_array_aux", "poke_progs")
    element = objects.new("prog_poke_elem", {"aux": aux})
    link = element + scene.layout.place("prog_poke_elem", "list")
    first = machine.word(head)
    machine.write(link, first.to_bytes(8, "little") + head.to_bytes(8, "little"))
    machine.write(first + 8, link.to_bytes(8, "little"))
    machine.write(head, link.to_bytes(8, "little"))


def is_compiled(scene: Scene, found: int) -> bool:
    """Returns True if the JIT made a jump of a constant tail call, and no call through the array."""
    return scene.objects.get(found, _STRUCT, "tailcall_target") != 0


def put(scene: Scene, array: int, key: int, program: int, *, jumps: bool) -> None:
    """Puts a program into an entry. With `jumps` the kernel then writes the jumps of the programs that `track` has
    added; raises EmulationError if it fails.
    """
    place = array + scene.layout.place("bpf_array", "ptrs") + 8 * key
    scene.machine.write(place, program.to_bytes(8, "little"))
    if not jumps:
        return
    scene.hold(scene.objects.get(array, "bpf_array", "aux"), "bpf_array_aux", "poke_mutex")
    run = scene.call(RUN, array, key, 0, program)
    if run.end is not End.RETURNED:
        raise EmulationError(Why.UNEXPECTED_FAULT, f"{RUN}() {run.describe()}")
