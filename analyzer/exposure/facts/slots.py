"""Facts about tail calls that depend on the contents of their slots."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tailcall_audit.analyzer.exposure.answers import met, not_met, possible, seen, strongest
from tailcall_audit.analyzer.exposure.code import Spot
from tailcall_audit.analyzer.exposure.facts.registry import named
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import Member, World
from tailcall_audit.analyzer.programs.types import Function
from tailcall_audit.probes.kernel.instructions import Insn

__all__: list[str] = []

_LOOK = "the slots at run time: tailcall-audit exposure --loaded"
_NO_TAIL_CALL = "it makes no tail call"
_LARGE, _SMALL = 1 << 20, 1 << 10
"""Numbers of entries: clearing `_LARGE` takes seconds, clearing `_SMALL` a small part of one."""
_FIRST_SAVED, _LAST_SAVED = 6, 9
"""The registers that a callee saves, for which it may need a stack frame."""


def _key(spot: Spot) -> str:
    return "…" if spot.call.key is None else str(spot.call.key)


def _empty(world: World, member: Member, spot: Spot) -> Finding | None:
    """Returns how sure it is that a tail call leads to an empty slot of its prog array; None if it does not."""
    where = member.place(spot.function, spot.call.instruction)
    array, targets = member.map(spot.call.map), world.targets(member, spot.call)
    name = array.name if array is not None else "a prog array"
    entries = None if array is None else array.max_entries
    unsure = targets.others is not None or entries is None
    empty = None
    if array is not None and entries is not None and (array.slots_are_all or not unsure):
        filled = {slot.key for slot in array.slots}
        wanted = range(entries) if spot.call.key is None else [spot.call.key]
        empty = next((key for key in wanted if key < entries and key not in filled), None)
    if empty is not None:
        text = f"{spot.function.name}() tail-calls {name}[{_key(spot)}]"
        return seen(spot.state, f"{text}; slot {empty} is empty", where)
    text = f"{name}[{_key(spot)}] may be empty when {spot.function.name}() tail-calls it"
    return possible(text, where, settle=_LOOK) if unsure else None


@named("tail-call-to-an-empty-slot")
def _tail_call_to_an_empty_slot(world: World, member: Member) -> Finding:
    found = (_empty(world, member, spot) for spot in member.code.spots())
    return strongest((item for item in found if item is not None), "no tail call of it can lead to an empty slot")


@named("tail-call-that-fails")
def _tail_call_that_fails(world: World, member: Member) -> Finding:
    """A tail call fails if the slot is empty, the index is out of range, or the limit is reached."""

    def found() -> Iterator[Finding]:
        for spot, where in member.tail_calls:
            array, key = member.map(spot.call.map), spot.call.key
            if array is not None and array.is_without(key):
                yield seen(spot.state, f"{array.name} has no slot {key}", where)
            elif (empty := _empty(world, member, spot)) is not None:
                yield empty
            elif key is None:
                yield possible(f"the index may be out of range when {spot.function.name}() makes a tail call", where)
        way = world.way(member, member)
        if way.state is not State.NOT_MET:
            text = "it can be reached again by its tail calls, up to the limit"
            yield seen(way.state, text, member.place(), chain=way.chain)

    return strongest(found(), "each tail call of it leads to a program, and none leads back")


@named("tail-call-that-is-taken")
def _tail_call_that_is_taken(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for spot, where in member.tail_calls:
            targets = world.targets(member, spot.call)
            text = f"{spot.function.name}() tail-calls {spot.call.map or 'a prog array'}[{_key(spot)}]"
            if targets.known:
                yield seen(spot.state, f"{text}, which is {targets.known[0][1].name}", where)
            elif targets.others is not None:
                yield possible(f"{text}: {targets.others}", where, settle=_LOOK)
        yield from _entered(world, member)

    return strongest(found(), "no tail call of it leads to a program, and none to it")


def _entered(world: World, member: Member) -> Iterator[Finding]:
    """Yields how the program can be the target of a tail call."""
    for step in world.steps_at(member):
        if step.source is not member:
            text = f"{step.source.name} may tail-call it" if step.state is State.POSSIBLE else str(step)
            yield Finding(step.state, text, (member.place(),), (), _LOOK if step.state is State.POSSIBLE else None)
    if not world.closed:
        yield possible(
            "another program may tail-call it, once it is put into its prog array", member.place(), settle=_LOOK
        )


@lru_cache(maxsize=4096)
def _without_frame(program: Member) -> State:
    """Returns how sure it is that a program needs no stack frame: it uses no stack, no calls and no saved registers."""
    main = program.code.main
    if main is None or main.stack is None:
        return State.POSSIBLE
    if main.stack or main.calls or main.helpers or main.callbacks:
        return State.NOT_MET
    saved = any(_FIRST_SAVED <= insn.dst <= _LAST_SAVED for insn in _of(program, main))
    return State.POSSIBLE if saved else State.MET


def _of(member: Member, function: Function) -> Iterator[Insn]:
    yield from member.program.instructions[function.start : function.end]


@named("tail-callee-without-a-frame")
def _tail_callee_without_a_frame(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for step in world.steps_at(member):
            state = min(step.state, _without_frame(step.target))
            if state is not State.NOT_MET:
                text = f"{step}, and needs no stack frame"
                yield Finding(state, text, (step.place,), (), _LOOK if state is State.POSSIBLE else None)
        if not world.closed and (any(member.code.spots()) or _without_frame(member) is not State.NOT_MET):
            yield possible(
                "a tail call between it and another program may lead to one without a stack frame", member.place()
            )

    return strongest(found(), "no tail call of it leads to a program without a stack frame")


def _arrays_of(member: Member) -> dict[str, int | None]:
    """Returns the number of entries of each prog array of a program, by name; None if it is not known."""
    names = {*member.program.maps, *(spot.call.map for spot in member.code.spots() if spot.call.map)}
    arrays = (member.owner.map(name) for name in names)
    return {array.name: array.max_entries for array in arrays if array is not None and array.type == "prog_array"}


@named("large-prog-array")
def _large_prog_array(_: World, member: Member) -> Finding:
    arrays = _arrays_of(member)
    sizes = {name: entries for name, entries in arrays.items() if entries is not None}
    name, entries = max(sizes.items(), key=lambda item: item[1], default=("", 0))
    text = f"{name} has {entries:,} entries"
    if entries >= _LARGE:
        return met(text, member.place())
    if len(sizes) < len(arrays):
        return possible("the size of its prog array is decided when it is loaded", member.place())
    if arrays:
        if entries < _SMALL:
            return not_met(f"no prog array of it has more than {entries} entries")
        settle = "clear it on the machine and look for a stall warning"
        return possible(
            f"{text}: how long it takes to clear them depends on the machine", member.place(), settle=settle
        )
    if any(spot.call.map is None for spot in member.code.spots()):
        return possible("which prog array it uses is not known", member.place())
    return not_met("it has no prog array")


@named("prog-array-that-is-updated")
def _prog_array_that_is_updated(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for spot, where in member.tail_calls:
            targets = world.targets(member, spot.call)
            if targets.known:
                yield seen(spot.state, f"a program is put into {spot.call.map}[{_key(spot)}]", where)
            elif targets.others is not None:
                yield possible(targets.others, where, settle=_LOOK)

    return strongest(found(), _NO_TAIL_CALL if not any(member.code.spots()) else "nothing is put into its prog arrays")
