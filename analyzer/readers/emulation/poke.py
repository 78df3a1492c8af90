"""Cases of constant tail calls, which are jumps: the kernel writes them into a program's code when the prog_array
changes.
"""

from __future__ import annotations

from tailcall_audit.analyzer.emulator.calls import End, Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.jumps import (
    IS_BPF_TEXT,
    RUN,
    WRITERS,
    Jump,
    descriptor,
    give,
    track,
    writing,
)
from tailcall_audit.analyzer.readers.emulation.scene import ProgramKind
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Outcome, Stage, control

__all__ = ["CASES", "SYMBOLS"]

_KEY = 1
_JUMP = 5
"""Bytes of a jump, and of the no-operation in its place."""
_NOTHING = tuple(map(bytes.fromhex, ("0f1f440000", "6666666690", "3e8d742600")))
"""The no-operations of five bytes that releases have had (Linux arch/x86/include/asm/nops.h)."""
_XDP = ProgramKind("XDP")


class _Poked:
    """A program with one constant tail call through entry 1 of a prog_array, in a fresh machine."""

    def __init__(self, stage: Stage, nothing: bytes, is_known: bool) -> None:
        scene = self.scene = stage.scene(writing(is_known))
        self.array = scene.prog_array()
        self.code = scene.machine.allocate_code(4096)
        self.target, self.bypass, self.around = self.code, self.code + 16, self.code + 64
        scene.machine.write(self.target, nothing)
        scene.machine.write(self.bypass, scene.bench.isa.jump(self.bypass, self.around, _JUMP))
        places = {"tailcall_target": self.target, "tailcall_bypass": self.bypass, "bypass_addr": self.around}
        found = descriptor(scene, Jump(self.array, _KEY), {**places, "tailcall_target_stable": 1})
        program = scene.objects.get(scene.program(_XDP), "bpf_prog", "aux")
        give(scene, program, found)
        track(scene, self.array, program)
        scene.hold(scene.objects.get(self.array, "bpf_array", "aux"), "bpf_array_aux", "poke_mutex")

    def callee(self) -> int:
        """Returns the address of a program to jump to."""
        return self.scene.program(ProgramKind("XDP", program={"bpf_func": self.scene.machine.allocate_code(4096)}))

    def change(self, old: int, new: int) -> Run:
        """Calls the function that changes the entry; 0 means no program."""
        return self.scene.call(RUN, self.array, _KEY, old, new)

    def jumps_to(self, program: int) -> bool:
        """Returns True if the code jumps to a program now."""
        entry = self.scene.objects.get(program, "bpf_prog", "bpf_func")
        expected = self.scene.bench.isa.jump(self.target, entry, _JUMP)
        return self.scene.machine.read(self.target, _JUMP) == expected


def _changes(stage: Stage, nothing: bytes, is_known: bool) -> Outcome:
    """Returns the outcome of putting a program, putting another one in its place, and taking that one out."""
    poked = _Poked(stage, nothing, is_known)
    first, second = poked.callee(), poked.callee()
    for old, new in ((0, first), (first, second), (second, 0)):
        run = poked.change(old, new)
        if run.end is End.TRAP:
            return Outcome.BUG
        if run.end is not End.RETURNED:
            raise EmulationError(Why.UNEXPECTED_FAULT, f"{RUN}() {run.describe()}")
        if new and not poked.jumps_to(new):
            return Outcome.NOT_DONE
    return Outcome.DONE if poked.scene.machine.read(poked.target, _JUMP) == nothing else Outcome.NOT_DONE


def _unknown_program(stage: Stage) -> Finding:
    """Changes the jumps of a program that kallsyms does not know, as while it is loaded or torn down. They must change
    too, or a later change finds code that it does not expect.
    """
    nothing = next((item for item in _NOTHING if _changes(stage, item, is_known=True) is Outcome.DONE), None)
    if nothing is None:
        raise EmulationError(Why.CONTROL, f"{RUN}() does not change the jumps of a program that is in use")
    outcome = _changes(stage, nothing, is_known=False)
    control(outcome in (Outcome.DONE, Outcome.NOT_DONE), f"{RUN}() traps although it was not in its way before")
    address = stage.bench.kernel.function(RUN)
    did = "changes" if outcome is Outcome.DONE else "leaves"
    return Finding(
        outcome, f"{RUN}() at {address:#x} {did} the jump of a program that kallsyms does not know (yet, or any more)"
    )


CASES: dict[str, Case] = {"poke/unknown-program": _unknown_program}
"""The cases, by the names that the catalogue has for them."""

SYMBOLS = frozenset((RUN, IS_BPF_TEXT, *WRITERS))
