"""Cases of the JIT: the kernel compiles a program that tail-calls itself, and the emitted code is run.

The programs are those of the live probes: each entry is counted in memory, and the program stops itself after `LIMIT`.
A healthy chain is entered 34 times: once, and by 33 tail calls (MAX_TAIL_CALL_CNT), on every kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tailcall_audit.analyzer.emulator.calls import End
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.compiler import (
    CALL_BASE,
    JIT,
    Compiled,
    Function,
    compile_program,
    jit_stubs,
)
from tailcall_audit.analyzer.readers.emulation.scene import Scene
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Outcome, Stage, control
from tailcall_audit.probes.kernel.instructions import FP, R0, R1, R2, R3, R6, Insn
from tailcall_audit.probes.kernel.programs import HEALTHY, LIMIT

__all__ = ["CASES", "NORMAL", "SYMBOLS", "LostCountError", "controls", "count", "entry", "judge", "subprogram"]

_LOAD_64, _MOVE, _SET, _ADD, _LOAD, _STORE, _JUMP_GREATER = 0x18, 0xBF, 0xB7, 0x07, 0x79, 0x7B, 0x25
_FILL, _FILL_WORD = 0x7A, 0x62
_CALL, _EXIT, _TAIL_CALL = 0x85, 0x95, 0xF5
"""Opcodes. The verifier turns a call of bpf_tail_call() into BPF_JMP | BPF_TAIL_CALL."""
_CONTEXT = 4096
_NULL_PAGE = 4096


def entry(counter: int, calls: int, stack: int, fill: int | None = None) -> list[Insn]:
    """Returns a program that counts its entries, fills its stack, and calls function 1 so many times."""
    # Constants, as the live probe stores them: a JIT that writes one wrongly must not look sound here.
    body = [Insn(_FILL if stack % 8 == 0 else _FILL_WORD, FP, R0, -stack, fill or 0)] if stack else []
    for _ in range(calls):
        body += [Insn(_MOVE, R1, R6), Insn(_CALL, 0, 1, 1, 1)]
    return [
        Insn(_MOVE, R6, R1),
        Insn(_LOAD_64, R1, imm=counter),
        Insn(_LOAD, R2, R1),
        Insn(_ADD, R2, imm=1),
        Insn(_STORE, R1, R2),
        Insn(_JUMP_GREATER, R2, off=len(body), imm=LIMIT),
        *body,
        Insn(_SET, R0),
        Insn(_EXIT),
    ]


def subprogram(array: int) -> list[Insn]:
    """Returns a function that tail-calls entry 0 of a prog_array, and returns 0 if that fails."""
    return [Insn(_LOAD_64, R2, imm=array), Insn(_SET, R3), Insn(_TAIL_CALL), Insn(_SET, R0), Insn(_EXIT)]


def plain(counter: int, array: int) -> list[Insn]:
    """Returns a program that counts its entries and tail-calls by itself."""
    start = entry(counter, 0, 0)[:6]
    body = [Insn(_MOVE, R1, R6), Insn(_LOAD_64, R2, imm=array), Insn(_SET, R3), Insn(_TAIL_CALL)]
    return [*start[:5], start[5]._replace(off=len(body) + 1), *body, Insn(_SET, R0), Insn(_EXIT)]


class LostCountError(EmulationError):
    """The emitted code follows a NULL pointer in place of the one to the count (on x86-64 since 116e04ba1459 the count
    is behind one).
    """


def count(scene: Scene, compiled: Compiled, array: int, counter: int) -> int:
    """Puts a program into its own array, runs it, and returns how often it was entered; raises LostCountError, or
    EmulationError.
    """
    place = array + scene.layout.place("bpf_array", "ptrs")
    scene.machine.write(place, compiled.programs[0].to_bytes(8, "little"))
    context = scene.machine.allocate(_CONTEXT)
    instructions = compiled.programs[0] + scene.layout.place("bpf_prog", "insnsi")
    run = scene.machine.call(compiled.entries[0], context, instructions)
    if run.end is not End.RETURNED:
        is_lost = run.end is End.FAULT and run.touched < _NULL_PAGE and run.function is None
        raise (LostCountError if is_lost else EmulationError)(
            Why.UNEXPECTED_FAULT, f"what {JIT}() emitted {run.describe()}"
        )
    return scene.machine.word(counter)


def chain(stage: Stage, calls: int, stack: int, fill: int | None = None) -> int:
    """Returns how often a program is entered that calls a tail-calling function so many times; with 0 calls it
    tail-calls itself.
    """
    scene = stage.scene(jit_stubs())
    array, counter = scene.prog_array(), scene.machine.allocate(8)
    functions = [Function(entry(counter, calls, stack, fill), stack), Function(subprogram(array))]
    if not calls:
        functions = [Function(plain(counter, array))]
    return count(scene, compile_program(scene, "XDP", functions), array, counter)


NORMAL = f"{HEALTHY} where the limit of 33 tail calls holds, stopped after {LIMIT}"
"""The counts of entries that a story compares with."""


def judge(entries: int) -> Outcome:
    """Returns the outcome that a count stands for."""
    if entries == HEALTHY:
        return Outcome.STOPS
    return Outcome.LOOPS if entries > LIMIT else Outcome.MISCOUNTS


def controls(stage: Stage) -> None:
    """Raises EmulationError unless both plain chains are entered 34 times, as on every kernel."""
    for calls, what in ((0, "a tail call"), (1, "a tail call in a function")):
        entries = stage.once(("chain", calls, 8), partial(chain, calls=calls, stack=8))
        control(entries == HEALTHY, f"{what} is entered {entries} times, not {HEALTHY}")


def _hierarchy(stage: Stage) -> Finding:
    """Counts entries of a program that calls a tail-calling function twice: the whole chain must share one count."""
    controls(stage)
    entries = chain(stage, 2, 8)
    words = f"a program that calls a tail-calling function twice, which is then entered {entries} times"
    return _found(stage, judge(entries), words)


def _count_offset(stage: Stage, fills: Sequence[int]) -> Finding:
    """Counts entries with a stack whose size is no multiple of eight: the count must be found whatever the size of the
    stack is, and whatever lies above it.
    """
    controls(stage)
    counts = [chain(stage, 1, 4, fill) for fill in fills]
    worst = next((judge(entries) for entries in counts if judge(entries) is not Outcome.STOPS), Outcome.STOPS)
    above = (f"{entries} times above a stack of {_FILLS[fill]}" for entries, fill in zip(counts, fills, strict=True))
    words = f"a program with 4 bytes of stack that calls a tail-calling function, which is then entered {' and '.join(above)}"
    return _found(stage, worst, words)


def _found(stage: Stage, outcome: Outcome, words: str) -> Finding:
    address = stage.bench.kernel.function(JIT)
    return Finding(outcome, f"{JIT}() at {address:#x} compiles {words} ({NORMAL})")


_FILLS = {0: "zeros", -1: "ones"}

CASES: dict[str, Case] = {
    "jit/hierarchy": _hierarchy,
    "jit/count-offset": partial(_count_offset, fills=(0, -1)),
}
"""The cases, by the names that the catalogue has for them."""
SYMBOLS = frozenset((JIT, CALL_BASE, *jit_stubs()))
