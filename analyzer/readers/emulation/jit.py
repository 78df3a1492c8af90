"""Cases of the JIT: the kernel compiles a program that tail-calls itself, and the emitted code is run.

The programs are those of the live probes: each entry is counted in memory, and the program stops itself after `LIMIT`.
A healthy chain is entered 34 times: once, and by 33 tail calls (MAX_TAIL_CALL_CNT), on every kernel. Each is compiled
with indirect tail calls and with direct ones, which a JIT makes jumps of if their index is a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from tailcall_audit.analyzer.emulator.calls import End
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.readers.emulation.compiler import (
    CALL_BASE,
    JIT,
    TAIL_CALL,
    Compiled,
    Function,
    compile_program,
    jit_stubs,
)
from tailcall_audit.analyzer.readers.emulation.jumps import RUN, Jump, put
from tailcall_audit.analyzer.readers.emulation.scene import Scene
from tailcall_audit.analyzer.readers.emulation.stage import Case, Finding, Outcome, Stage, control
from tailcall_audit.probes.kernel.assembler import FP, R0, R1, R2, R3, R6
from tailcall_audit.probes.kernel.instructions import Insn, encode
from tailcall_audit.probes.kernel.programs import HEALTHY, LIMIT

__all__ = [
    "CASES",
    "NORMAL",
    "SYMBOLS",
    "WAYS",
    "LostCountError",
    "Way",
    "Ways",
    "controls",
    "count",
    "entry",
    "every_way",
    "in_words",
    "judge",
    "subprogram",
]

_LOAD_64, _MOVE, _SET, _ADD, _LOAD, _STORE, _JUMP_GREATER = 0x18, 0xBF, 0xB7, 0x07, 0x79, 0x7B, 0x25
_FILL, _FILL_WORD = 0x7A, 0x62
_CALL, _EXIT = 0x85, 0x95
"""Opcodes."""
_PATTERN = 64
"""Bytes of stack that a pattern fills: more than any offset at which the JIT could look for the count. The live probe
fills 256, and each store is one more instruction to compile in every pass.
"""
_CONTEXT = 4096
_NULL_PAGE = 4096


class Way(NamedTuple):
    """How a program tail-calls: `direct`, with an index that is a constant, or with one that is only known when it runs."""

    name: str
    direct: bool

    def jump(self, array: int, key: int = 0) -> Jump | None:
        """Returns the constant tail call of an entry of an array; None if this way has none."""
        return Jump(array, key) if self.direct else None


WAYS = (Way("an indirect", False), Way("a direct", True))
Ways = Mapping[str, int]
"""Entries by the name of the way; a JIT that makes no jumps of direct tail calls has one way only."""


def entry(counter: int, calls: int, stack: int) -> list[Insn]:
    """Returns a program that counts its entries, stores zeros in its stack, and calls function 1 so many times."""
    # Constants, as the live probe stores them: a JIT that writes one wrongly must not look sound here.
    body = [Insn(_FILL if stack % 8 == 0 else _FILL_WORD, FP, R0, -stack)] if stack else []
    for _ in range(calls):
        body += [Insn(_MOVE, R1, R6), Insn(_CALL, 0, 1, 1, 1)]
    return _counting(counter, body)


def _counting(counter: int, body: Sequence[Insn]) -> list[Insn]:
    """Returns a program that counts its entries, and runs a body unless they are above the limit."""
    slots = len(encode(body)) // 8
    return [
        Insn(_MOVE, R6, R1),
        Insn(_LOAD_64, R1, imm=counter),
        Insn(_LOAD, R2, R1),
        Insn(_ADD, R2, imm=1),
        Insn(_STORE, R1, R2),
        Insn(_JUMP_GREATER, R2, off=slots, imm=LIMIT),
        *body,
        Insn(_SET, R0),
        Insn(_EXIT),
    ]


def _tail_call(array: int, key: int, jump: Jump | None) -> list[Insn]:
    return [Insn(_LOAD_64, R2, imm=array), Insn(_SET, R3, imm=key), Insn(TAIL_CALL, imm=int(jump is not None))]


def subprogram(array: int, jump: Jump | None = None) -> Function:
    """Returns a function that tail-calls entry 0 of a prog_array, and returns 0 if that fails."""
    return Function([*_tail_call(array, 0, jump), Insn(_SET, R0), Insn(_EXIT)], jump=jump)


def _plain(counter: int, array: int, jump: Jump | None) -> Function:
    """Returns a program that counts its entries and tail-calls by itself."""
    return Function(_counting(counter, [Insn(_MOVE, R1, R6), *_tail_call(array, 0, jump)]), jump=jump)


def _filling(counter: int, array: int, pattern: int) -> Function:
    """Returns a program that counts its entries, fills its stack with a pattern, and tail-calls entry 1 of a prog_array,
    which is a constant.
    """
    jump = Jump(array, 1)
    stores = [Insn(_FILL, FP, R0, -place, pattern) for place in range(8, _PATTERN + 8, 8)]
    return Function(_counting(counter, [*stores, Insn(_MOVE, R1, R6), *_tail_call(array, 1, jump)]), _PATTERN, jump)


class LostCountError(EmulationError):
    """The emitted code follows a NULL pointer in place of the one to the count (on x86-64 since 116e04ba1459 the count
    is behind one). Around a tracer this is an outcome; without one no kernel does it, and it is a failed control.
    """


def count(scene: Scene, compiled: Compiled, counter: int) -> int:
    """Runs a program, and returns how often it was entered; raises LostCountError, or EmulationError."""
    context = scene.machine.allocate(_CONTEXT)
    instructions = compiled.programs[0] + scene.layout.place("bpf_prog", "insnsi")
    run = scene.machine.call(compiled.entries[0], context, instructions)
    if run.end is not End.RETURNED:
        words = f"what {JIT}() emitted {run.describe()}"
        if run.end is End.FAULT and run.touched < _NULL_PAGE and run.function is None:
            raise LostCountError(Why.CONTROL, words)
        raise EmulationError(Why.UNEXPECTED_FAULT, words)
    return scene.machine.word(counter)


def every_way(make: Callable[[Way], int | None]) -> Ways:
    """Returns the entries of a program in every way. `make` returns None if the JIT makes no jumps: the code is that of
    the indirect way then.
    """
    found = {way.name: make(way) for way in WAYS}
    return {name: entries for name, entries in found.items() if entries is not None}


def in_words(entries: Ways) -> str:
    """Returns entries in words; ways with the same number are one."""
    times = {way: f"{number} time{'' if number == 1 else 's'}" for way, number in entries.items()}
    if len(set(times.values())) == 1:
        return next(iter(times.values()))
    return " and ".join(f"{number} by {way} tail call" for way, number in times.items())


def chain(scene: Scene, calls: int, stack: int, way: Way) -> int | None:
    """Returns how often a program is entered that calls a tail-calling function so many times; with 0 calls it
    tail-calls itself. Returns None if the JIT makes no jumps.
    """
    array, counter = scene.prog_array(), scene.machine.allocate(8)
    jump = way.jump(array)
    functions = [Function(entry(counter, calls, stack), stack), subprogram(array, jump)]
    if not calls:
        functions = [_plain(counter, array, jump)]
    compiled = compile_program(scene, "XDP", functions)
    if way.direct and not compiled.jumps:
        return None
    put(scene, array, 0, compiled.programs[0], jumps=compiled.jumps)
    return count(scene, compiled, counter)


def _pattern(scene: Scene, pattern: int, way: Way) -> int | None:
    """Returns how often two programs are entered: one fills its stack with a pattern and tail-calls the other, which has
    4 bytes of stack and calls a function that tail-calls the first. Returns None if the JIT makes no jumps.
    """
    array, counter = scene.prog_array(), scene.machine.allocate(8)
    first = compile_program(scene, "XDP", [_filling(counter, array, pattern)])
    if way.direct and not first.jumps:
        return None
    functions = [Function(entry(counter, 1, 4), 4), subprogram(array, way.jump(array))]
    second = compile_program(scene, "XDP", functions)
    for key, compiled in enumerate((first, second)):
        put(scene, array, key, compiled.programs[0], jumps=first.jumps or second.jumps)
    return count(scene, first, counter)


NORMAL = f"{HEALTHY} where the limit of 33 tail calls holds, stopped after {LIMIT}"
"""The counts of entries that a story compares with."""


def judge(entries: Iterable[int]) -> Outcome:
    """Returns the outcome that counts stand for: of the first that is not the healthy one. Raises EmulationError if
    there are none.
    """
    counts = tuple(entries)
    control(bool(counts), "nothing was run")
    wrong = next((number for number in counts if number != HEALTHY), HEALTHY)
    if wrong == HEALTHY:
        return Outcome.STOPS
    return Outcome.LOOPS if wrong > LIMIT else Outcome.MISCOUNTS


def controls(stage: Stage) -> None:
    """Raises EmulationError unless every plain chain is entered 34 times, as on every kernel."""
    for what, entries in stage.once("chains", _controls).items():
        control(judge(entries.values()) is Outcome.STOPS, f"{what} is entered {in_words(entries)}, not {HEALTHY}")


def _controls(stage: Stage) -> Mapping[str, Ways]:
    scene = stage.scene(jit_stubs())
    named = ((0, "a tail call"), (1, "a tail call in a function"))
    return {what: every_way(partial(chain, scene, calls, 0)) for calls, what in named}


def _hierarchy(stage: Stage) -> Finding:
    """Counts entries of a program that calls a tail-calling function twice: the whole chain must share one count."""
    controls(stage)
    entries = every_way(partial(chain, stage.scene(jit_stubs()), 2, 0))
    words = f"a program that calls a tail-calling function twice, which is then entered {in_words(entries)}"
    return _found(stage, judge(entries.values()), words)


def _count_offset(stage: Stage) -> Finding:
    """Counts entries with a stack whose size is no multiple of eight: the count must be found whatever the size of the
    stack is, and whatever lies there.
    """
    controls(stage)
    scene = stage.scene(jit_stubs())
    counts = {name: every_way(partial(_pattern, scene, pattern)) for name, pattern in _PATTERNS.items()}
    counts[_ALONE] = every_way(partial(chain, scene, 1, 4))
    outcome = judge(number for entries in counts.values() for number in entries.values())
    words = ", ".join(f"{in_words(entries)} {where}" for where, entries in counts.items())
    return _found(
        stage,
        outcome,
        f"a program with 4 bytes of stack that calls a tail-calling function, which is then entered {words}",
    )


def _found(stage: Stage, outcome: Outcome, words: str) -> Finding:
    address = stage.bench.kernel.function(JIT)
    return Finding(outcome, f"{JIT}() at {address:#x} compiles {words} ({NORMAL})")


_PATTERNS = {"above a stack of zeros": 0, "above a stack of ones": -1}
_ALONE = "alone"

CASES: dict[str, Case] = {"jit/hierarchy": _hierarchy, "jit/count-offset": _count_offset}
"""The cases, by the names that the catalogue has for them."""
SYMBOLS = frozenset((JIT, CALL_BASE, RUN, *jit_stubs()))
