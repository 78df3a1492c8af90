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
            behind = member.code.flow.behind(first.instruction, function)
            for second in events:
                if second.instruction in behind:
                    yield function, first, second, min(reached, first.state, second.state)


@lru_cache(maxsize=4096)
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


def _runs(member: Member, name: str, above: frozenset[str] = frozenset()) -> int:
    """Returns how often a function is called at most in one run of its program."""
    main = member.code.main
    if main is not None and name == main.name:
        return 1
    if name in above:
        return _MANY
    times = 0
    for function, _ in member.code.called():
        if any(site.callee == name for site in function.callbacks):
            return _MANY
        for site in function.calls:
            if site.callee == name:
                looped = site.instruction in member.code.flow.behind(site.instruction, function)
                times += _MANY if looped else _runs(member, function.name, above | {name})
    return min(times, _MANY)


@lru_cache(maxsize=4096)
def _most(world: World, member: Member) -> int:
    """Returns how many tail calls one run of a program can make at most, if the program leads into no loop."""
    total = 0
    for spot in member.code.spots():
        targets = {step.target for step in world.steps(member) if step.spot == spot}
        if targets:
            below = max(_most(world, target) for target in targets)
            looped = spot.call.instruction in member.code.flow.behind(spot.call.instruction, spot.function)
            total += (_MANY if looped else _runs(member, spot.function.name)) * (1 + below)
    return min(total, _MANY)


class _Start(NamedTuple):
    """What a program does that bypasses the count, in words, and the places of it."""

    state: State
    words: str
    places: tuple[Place, ...]


def _in_a_loop(world: World, member: Member, starts: Callable[[Member], _Start | None]) -> Iterator[Finding]:
    """Yields the findings about a program on the way from what bypasses the count into a loop."""
    for other in world.members:
        start = starts(other)
        if start is None:
            continue
        there = Way(State.MET) if other is member else world.way(other, member)
        loop = world.loop(member)
        state = min(start.state, there.state, loop.state)
        where = (*start.places, *there.places, *loop.places)
        chain = (f"{other.name}: {start.words}", *there.chain, *loop.chain)
        text = f"{start.words if other is member else chain[0]}, and its tail calls lead into a loop"
        why = there.why or loop.why
        if state is State.POSSIBLE and why:
            yield possible(f"{text}, if so: {why}", *where, settle=there.settle or loop.settle, chain=chain)
        elif state is not State.NOT_MET:
            yield seen(state, text, *where, chain=chain)
        elif other is member and _most(world, member) > _LIMIT:
            text = f"{start.words}: more than {_LIMIT} tail calls in one run cannot be ruled out"
            yield possible(text, *start.places)
    yield from _link(world, member)


def _siblings(member: Member) -> _Start | None:
    pair = _doubling(member)
    if pair is None:
        return None
    function, first, second, state = pair
    return _Start(
        state, _words(pair), (member.place(function, first.instruction), member.place(function, second.instruction))
    )


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
