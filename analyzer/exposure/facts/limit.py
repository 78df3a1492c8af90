"""Facts about loops of tail calls in which the kernel's count can be bypassed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from tailcall_audit.analyzer.exposure.answers import possible, seen, strongest
from tailcall_audit.analyzer.exposure.code import Event
from tailcall_audit.analyzer.exposure.facts.registry import named
from tailcall_audit.analyzer.exposure.types import Finding, Place, State
from tailcall_audit.analyzer.exposure.world import Member, Way, World
from tailcall_audit.analyzer.programs.types import Function

__all__: list[str] = []

_LIMIT = 33
"""MAX_TAIL_CALL_CNT of the kernel."""
_MANY = 1 << 20


def _pairs(member: Member) -> Iterator[tuple[Function, Event, Event, State]]:
    """Yields pairs of a call of a subprogram that makes a tail call, and a tail call that can follow in the same run of
    the function: the same call in a loop, another such call, or a tail call of the function itself.
    """
    for function, reached in member.code.called():
        for event in member.code.callbacks_that_tail_call(function):
            yield function, event, event, event.state
        events = list(member.code.events(function))
        for first in events:
            if first.callee is None:
                continue
            for second in events:
                if member.code.flow.follows(first.instruction, second.instruction, function):
                    yield function, first, second, min(reached, first.state, second.state)


def _doubling(member: Member) -> tuple[Function, Event, Event, State] | None:
    """Returns the surest pair of `_pairs`."""
    return max(_pairs(member), key=lambda pair: pair[3], default=None)


def _words(pair: tuple[Function, Event, Event, State]) -> str:
    function, first, second, _ = pair
    if second.callee is None:
        return f"{function.name}() calls {first.callee}(), which makes a tail call, and then makes one itself"
    if first.instruction == second.instruction:
        return f"{function.name}() calls {first.callee}(), which makes a tail call, in a loop or as a callback"
    return f"{function.name}() calls {first.callee}() and then {second.callee}(), which both make tail calls"


def _is_looped(member: Member, function: Function, instruction: int) -> bool:
    return member.code.flow.follows(instruction, instruction, function)


@lru_cache(maxsize=4096)
def _runs(member: Member) -> dict[str, int]:
    """Returns how often each function is called at most in one run of its program."""
    called = list(member.code.called())
    main = member.code.main
    runs = {} if main is None else {main.name: 1}
    calls: dict[str, list[tuple[Function, int]]] = {}
    for function, _ in called:
        for site in function.calls:
            calls.setdefault(site.callee, []).append((function, site.instruction))
        runs |= {site.callee: _MANY for site in function.callbacks if main is None or site.callee != main.name}
    # Each round settles the functions whose callers are settled. What is left is part of a recursion, or below one.
    left = [function.name for function, _ in called if function.name not in runs]
    settled = True
    while settled:
        ready = [name for name in left if all(caller.name in runs for caller, _ in calls.get(name, ()))]
        settled = bool(ready)
        for name in ready:
            times = (_MANY if _is_looped(member, *call) else runs[call[0].name] for call in calls.get(name, ()))
            runs[name] = min(sum(times), _MANY)
        left = [name for name in left if name not in runs]
    return runs | dict.fromkeys(left, _MANY)


@lru_cache(maxsize=4)
def _counts(world: World) -> dict[Member, int]:
    """Returns how many tail calls one run of each program can make at most. Programs that lead into a loop are left
    out.
    """
    found: dict[Member, int] = {}
    open_ends = [member for member in world.members if world.loop(member).state is State.NOT_MET]
    while open_ends:
        member = open_ends[-1]
        missing = [step.target for step in world.steps(member) if step.target not in found]
        if missing:
            open_ends += missing
            continue
        found[open_ends.pop()] = _count(world, member, found)
    return found


def _count(world: World, member: Member, below: dict[Member, int]) -> int:
    """Returns the number for one program, given those of its targets."""
    longest: dict[int, int] = {}
    for step in world.steps(member):
        at = step.spot.call.instruction
        longest[at] = max(longest.get(at, 0), 1 + below[step.target])
    total = 0
    for spot in member.code.spots():
        at = spot.call.instruction
        if at in longest:
            times = _MANY if _is_looped(member, spot.function, at) else _runs(member)[spot.function.name]
            total += times * longest[at]
    return min(total, _MANY)


class _Start(NamedTuple):
    """An action of a program that bypasses the count: how sure it is, in words, and its places."""

    state: State
    words: str
    places: tuple[Place, ...]


def _in_a_loop(world: World, member: Member, starts: Callable[[Member], _Start | None]) -> Iterator[Finding]:
    """Yields the findings about a program on the way from what bypasses the count into a loop."""
    loop = world.loop(member)
    for other in world.members if loop.state is not State.NOT_MET else (member,):
        start = starts(other)
        if start is None:
            continue
        there = Way(State.MET) if other is member else world.way(other, member)
        state = min(start.state, there.state, loop.state)
        if state is State.NOT_MET and other is not member:
            continue
        where = (*start.places, *there.places, *loop.places)
        chain = (f"{other.name}: {start.words}", *there.chain, *loop.chain)
        text = f"{start.words if other is member else chain[0]}, and its tail calls lead into a loop"
        why = there.why or loop.why
        if state is State.POSSIBLE and why:
            yield possible(f"{text}, if so: {why}", *where, settle=there.settle or loop.settle, chain=chain)
        elif state is not State.NOT_MET:
            yield seen(state, text, *where, chain=chain)
        elif other is member and _counts(world).get(member, 0) > _LIMIT:
            text = f"{start.words}: more than {_LIMIT} tail calls in one run cannot be ruled out"
            yield possible(text, *start.places)
    yield from _link(world, member)


@lru_cache(maxsize=4096)
def _siblings(member: Member) -> _Start | None:
    pair = _doubling(member)
    if pair is None:
        return None
    function, first, second, state = pair
    return _Start(
        state, _words(pair), (member.place(function, first.instruction), member.place(function, second.instruction))
    )


@lru_cache(maxsize=4096)
def _in_a_subprogram(member: Member) -> _Start | None:
    spots = [spot for spot in member.code.spots() if spot.function is not member.code.main]
    if not spots:
        return None
    spot = max(spots, key=lambda item: item.state)
    where = (member.place(spot.function, spot.call.instruction),)
    return _Start(spot.state, f"{spot.function.name}() is a subprogram and makes a tail call", where)


@named("sibling-tail-calls-in-a-loop")
def _sibling_tail_calls_in_a_loop(world: World, member: Member) -> Finding:
    """A program makes tail calls one after the other, and they lead into a loop. The programs on the way are
    included.
    """
    nothing = "no run of its functions makes tail calls one after the other in a chain that leads back"
    return strongest(_in_a_loop(world, member, _siblings), nothing)


@named("subprogram-in-a-tail-call-loop")
def _subprogram_in_a_tail_call_loop(world: World, member: Member) -> Finding:
    """A subprogram makes a tail call that leads into a loop. The programs on the way are included."""
    return strongest(_in_a_loop(world, member, _in_a_subprogram), "no subprogram makes a tail call that leads back")


def _link(world: World, member: Member) -> Iterator[Finding]:
    """Yields a possible finding for a program that tail-calls into a prog array which unknown programs may be put into:
    it may be part of a loop in which another program makes the repeated tail calls.
    """
    yield from world.open_link(member, "one of them may call subprograms that tail-call back")
