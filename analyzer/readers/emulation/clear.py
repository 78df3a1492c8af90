"""The case of a prog_array that is cleared when its last user is gone: does the kernel pause between the entries?"""

from __future__ import annotations

from tailcall_audit.analyzer.emulator.calls import End
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.scene import ENTRIES, ProgramKind, Scene
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Outcome, Stage, control

__all__ = ["CASES", "SYMBOLS"]

_CLEAR, _POKE_RUN, _TAKE = "prog_array_map_clear_deferred", "prog_array_map_poke_run", "prog_fd_array_put_ptr"
_GIVES_WAY = ("_cond_resched", "__cond_resched")
"""cond_resched() as a function: before v5.12, and since."""
_PATCHED = ("__SCT__cond_resched", "dynamic_cond_resched")
"""cond_resched() that preempt= may take out of a booted kernel (CONFIG_PREEMPT_DYNAMIC): a static call, a static key.
"""
_POINTER = 8


def _give_way(scene: Scene) -> None:
    """Raises EmulationError if this build has no cond_resched() that can be counted."""
    kernel = scene.kernel
    patched = next((name for name in _PATCHED if kernel.find(name) is not None), None)
    if patched is not None:
        raise EmulationError(
            Why.UNPATCHABLE, f"cond_resched() is {patched}(), which a booted kernel may have taken out"
        )
    if all(kernel.find(name) is None for name in _GIVES_WAY):
        raise EmulationError(Why.NO_FUNCTION, "cond_resched(), which is empty in this build")


def _full_array(scene: Scene) -> int:
    """Returns the address of a prog_array with a program in each entry and with the map functions that clearing calls."""
    objects, layout = scene.objects, scene.layout
    array = scene.prog_array()
    functions = {"map_poke_run": scene.kernel.function(_POKE_RUN), "map_fd_put_ptr": scene.kernel.function(_TAKE)}
    for name in functions:
        layout.need("bpf_map_ops", name)
    objects.set(array, "bpf_array", "map.ops", objects.new("bpf_map_ops", functions))
    place = array + layout.place("bpf_array", "ptrs")
    for index in range(ENTRIES):
        program = scene.program(ProgramKind("XDP", aux={"prog_array_member_cnt": 1}))
        scene.machine.write(place + _POINTER * index, program.to_bytes(_POINTER, "little"))
    aux = objects.get(array, "bpf_array", "aux")
    objects.set(aux, "bpf_array_aux", "map", array)
    scene.hold(aux, "bpf_array_aux", "poke_mutex")
    return array


def _clear(stage: Stage) -> Finding:
    """Clears a full prog_array. It may have up to 4 billion entries: clearing it without a pause stalls the processor."""
    scene = stage.scene({"bpf_prog_put": lambda _: 0, "bpf_map_put": lambda _: 0})
    _give_way(scene)
    array = _full_array(scene)
    aux = scene.objects.get(array, "bpf_array", "aux")
    run = scene.call(_CLEAR, aux + scene.layout.place("bpf_array_aux", "work"))
    if run.end is not End.RETURNED:
        raise EmulationError(Why.UNEXPECTED_FAULT, f"{_CLEAR}() {run.describe()}")
    place = array + scene.layout.place("bpf_array", "ptrs")
    control(not any(scene.machine.read(place, _POINTER * ENTRIES)), f"{_CLEAR}() leaves programs in the array")
    control("bpf_map_put" in scene.called, f"{_CLEAR}() keeps the array")
    pauses = sum(name in _GIVES_WAY for name in scene.called)
    control(pauses in (0, ENTRIES), f"{pauses} calls of cond_resched() for {ENTRIES} entries")
    address = stage.bench.kernel.function(_CLEAR)
    words = f"{_CLEAR}() at {address:#x} calls cond_resched() {pauses} times while it clears {ENTRIES} entries"
    return Finding(Outcome.DONE if pauses else Outcome.NOT_DONE, words)


CASES: dict[str, Case] = {"prog-array/clear-gives-way": _clear}
"""The cases, by the names that the catalogue has for them."""
SYMBOLS = frozenset((_CLEAR, _POKE_RUN, _TAKE, "bpf_prog_put", "bpf_map_put", *_GIVES_WAY, *_PATCHED))
