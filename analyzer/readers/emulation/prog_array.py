"""Cases of a program that is both extended by a freplace program and put into a prog_array, in both orders.

The linking and the put are the kernel's own code, and each finds the marks that the other leaves in the program: this
module knows no member of a structure.
"""

from __future__ import annotations

from tailcall_audit.analyzer.emulator.calls import Call, End, Run
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.scene import ProgramKind, Scene
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Outcome, Stage, control

__all__ = ["CASES", "SYMBOLS"]

_PUT, _TAKE, _LINK = "prog_fd_array_get_ptr", "prog_fd_array_put_ptr", "bpf_trampoline_link_prog"
_BUSY = -16 & 0xFFFF_FFFF_FFFF_FFFF
"""EBUSY (include/uapi/asm-generic/errno-base.h)."""
_DESCRIPTOR = 5
_XDP = ProgramKind("XDP")


class _Target:
    """A program that may be extended and put, in a fresh machine. The descriptor of every put is its own."""

    def __init__(self, stage: Stage) -> None:
        self.scene: Scene = stage.scene(
            {
                "bpf_prog_get": lambda _: self.program,
                "bpf_prog_put": lambda _: 0,
                "bpf_arch_text_poke": self._poke,
            }
        )
        self.program = self.scene.program(_XDP)
        self.array = self.scene.prog_array()
        self.poked = 0

    def _poke(self, _: Call) -> int:
        """Answers the call that writes the jump into the extension."""
        self.poked += 1
        return 0

    def put(self) -> Run:
        return self.scene.call(_PUT, self.array, 0, _DESCRIPTOR)

    def take(self) -> Run:
        return self.scene.call(_TAKE, self.array, self.program, 1)

    def link(self) -> Run:
        """Attaches a freplace program to a function of the target."""
        scene, objects = self.scene, self.scene.objects
        extension = scene.program(ProgramKind("EXT", program={"bpf_func": self.program}, target=_XDP))
        trampoline = objects.new("bpf_trampoline", {"func.addr": self.program})
        parameters = scene.layout.parameters(_LINK) or []
        first = extension
        if parameters[:1] != ["prog"]:
            first = self._link_of(parameters[0] if parameters else "link", extension)
        return scene.call(_LINK, first, trampoline, self.program)

    def _link_of(self, parameter: str, extension: int) -> int:
        """Returns the address of what stands for the extension: a link, or since v7.1 a node of one."""
        objects = self.scene.objects
        if parameter == "node":
            link = objects.new("bpf_link", {"prog": extension})
            return objects.new("bpf_tramp_node", {"link": link})
        return objects.new("bpf_tramp_link", {"link.prog": extension})


def _put(target: _Target) -> Outcome:
    run = target.put()
    if run.end is End.RETURNED and run.value == target.program:
        return Outcome.ACCEPTED
    return _refusal(run, f"{_PUT}()")


def _link(target: _Target) -> Outcome:
    run = target.link()
    if run.end is End.RETURNED and run.value & 0xFFFF_FFFF == 0:
        control(target.poked == 1, f"{_LINK}() returns 0 and writes {target.poked} jumps")
        return Outcome.ACCEPTED
    return _refusal(run, f"{_LINK}()")


def _refusal(run: Run, what: str) -> Outcome:
    if run.end is not End.RETURNED:
        raise EmulationError(Why.UNEXPECTED_FAULT, f"{what} {run.describe()}")
    # An int is sign-extended on one architecture and not on another. No kernel has another answer than these two.
    control(run.value & 0xFFFF_FFFF == _BUSY & 0xFFFF_FFFF, f"{what} {run.describe()}")
    return Outcome.BUSY


def _controls(stage: Stage) -> None:
    """Raises EmulationError unless each step alone works, as on every kernel."""
    control(_put(_Target(stage)) is Outcome.ACCEPTED, f"{_PUT}() refuses a plain program")
    control(_link(_Target(stage)) is Outcome.ACCEPTED, f"{_LINK}() refuses a plain freplace program")


def _extended_then_put(stage: Stage) -> Finding:
    _controls(stage)
    target = _Target(stage)
    _link(target)
    return _found(stage, _put(target), _PUT, "a program that a freplace program extends")


def _put_then_extended(stage: Stage) -> Finding:
    _controls(stage)
    target = _Target(stage)
    _put(target)
    return _found(stage, _link(target), _LINK, "a freplace program of one that is in a prog_array")


def _taken_then_extended(stage: Stage) -> Finding:
    """Extends a program that was put twice and taken out once, which is still in an array; and one taken out twice,
    which is in none and may be extended.
    """
    _controls(stage)
    target = _Target(stage)
    for step in (target.put, target.put, target.take, target.take):
        run = step()
        control(run.end is End.RETURNED, run.describe())
    control(_link(target) is Outcome.ACCEPTED, f"{_LINK}() refuses a program that is in no prog_array any more")
    target = _Target(stage)
    for step in (target.put, target.put, target.take):
        run = step()
        control(run.end is End.RETURNED, run.describe())
    return _found(stage, _link(target), _LINK, "a freplace program of one that is in a second prog_array")


def _found(stage: Stage, outcome: Outcome, function: str, words: str) -> Finding:
    address = stage.bench.kernel.function(function)
    did = "accepts" if outcome is Outcome.ACCEPTED else "refuses with EBUSY"
    return Finding(outcome, f"{function}() at {address:#x} {did} {words}")


CASES: dict[str, Case] = {
    "prog-array/extended-then-put": _extended_then_put,
    "prog-array/put-then-extended": _put_then_extended,
    "prog-array/taken-then-extended": _taken_then_extended,
}
"""The cases, by the names that the catalogue has for them."""
SYMBOLS = frozenset((_PUT, _TAKE, _LINK, "bpf_prog_get", "bpf_prog_put", "bpf_arch_text_poke"))
