"""Renders the call graph of programs as plain text, and marks the calls that meet a defect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tailcall_audit.analyzer.exposure.types import Exposure, Place, State
from tailcall_audit.analyzer.programs.types import Function, Program, ProgramSet, TailCall
from tailcall_audit.analyzer.text import printable

__all__ = ["call_graph", "chains"]

_MARK, _NONE = ">", " "
_MOST = 12
"""The maximum number of prog array slots shown for a tail call with an unknown index."""


def _marked(exposures: Iterable[Exposure]) -> frozenset[tuple[str, str, str | None, int | None]]:
    """Returns the places to mark: those of findings that are met. If none are, those of possible findings with
    a chain.
    """
    found = list(exposures)
    matters = [item for item in found if item.state is State.MET]
    matters = matters or [item for item in found if item.state is State.POSSIBLE and item.finding.chain]
    return frozenset(map(_key, (place for item in matters for place in item.finding.where)))


def _key(place: Place) -> tuple[str, str, str | None, int | None]:
    return place.object, place.program, place.function, place.instruction


def _slots(owner: ProgramSet, call: TailCall) -> str:
    """Returns a description of a tail call's targets."""
    if call.map is None:
        return "a prog array that is not known"
    array = owner.map(call.map)
    key = "?" if call.key is None else str(call.key)
    held = [slot for slot in (array.slots if array is not None else ()) if call.key in (None, slot.key)]
    names = [f"{slot.key}: {slot.program or 'a program that is not among these'}" for slot in held[:_MOST]]
    more = f", and {len(held) - _MOST} more" if len(held) > _MOST else ""
    empty = "empty" if array is not None and array.slots_are_all else "filled at run time"
    return f"{call.map}[{key}] -> {', '.join(names) + more if names else empty}"


def _line(program: Program, instruction: int) -> str:
    line = program.lines.get(instruction)
    return "" if line is None else f"   {line.file}:{line.line}"


def _function(owner: ProgramSet, program: Program, function: Function, marked: frozenset[object]) -> Iterator[str]:
    def mark(instruction: int | None) -> str:
        found = (owner.label, program.key, function.name, instruction) in marked
        return _MARK if found else _NONE

    stack = "stack not known" if function.stack is None else f"{function.stack} bytes of stack"
    kind = "" if function is program.functions[0] else ", static" if function.is_global is False else ", global"
    inside = [*(site.instruction for site in function.calls), *(call.instruction for call in function.tail_calls)]
    head = _MARK if any(mark(item) == _MARK for item in (None, *inside)) else _NONE
    yield f"{head}   {function.name}()  {stack}{kind}"
    events = [(site.instruction, f"calls {site.callee}()") for site in function.calls]
    events += [(site.instruction, f"lets a helper call {site.callee}()") for site in function.callbacks]
    events += [(call.instruction, f"tail-calls {_slots(owner, call)}") for call in function.tail_calls]
    for instruction, text in sorted(events):
        yield f"{mark(instruction)}     {instruction:5} {text}{_line(program, instruction)}"


def _attached(program: Program) -> str:
    words = (
        f", attached to {found.function or '?'}() of {found.program}"
        if found.program is not None
        else f", for {found.function or found.hook or '?'}"
        for found in program.attachments
    )
    return "".join(words)


def call_graph(sets: Iterable[ProgramSet], exposures: Iterable[Exposure]) -> list[str]:
    """Returns the lines of the call graph: each program with its functions, their calls and tail calls. `>` marks the
    places where a defect is met, or may be.
    """
    marked = _marked(exposures)
    lines = []
    for owner in sets:
        for program in owner.programs:
            lines.append(f"{program.key} ({program.type or 'type not known'}{_attached(program)}) in {owner.label}")
            for function in program.functions:
                lines += _function(owner, program, function, marked)
    return [printable(line) for line in lines]


def chains(exposures: Iterable[Exposure]) -> list[str]:
    """Returns the chains that form loops, with numbered steps. A chain of several defects is listed once."""
    found: dict[tuple[State, tuple[str, ...]], list[str]] = {}
    for item in exposures:
        if item.finding.chain and item.state is not State.NOT_MET:
            found.setdefault((item.state, item.finding.chain), []).append(item.defect)
    lines = []
    for (state, chain), slugs in found.items():
        lines.append(f"{', '.join(slugs)}: {'the loop' if state is State.MET else 'the loop that is possible'}")
        lines += [f"  {number}. {step}" for number, step in enumerate(chain, 1)]
    return [printable(line) for line in lines]
