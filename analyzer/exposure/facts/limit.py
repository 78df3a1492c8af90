"""Chains of tail calls that lead back, and what keeps their count from being one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tailcall_audit.analyzer.exposure.answers import possible, seen, strongest
from tailcall_audit.analyzer.exposure.code import Event
from tailcall_audit.analyzer.exposure.facts.registry import named
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import Member, Way, World
from tailcall_audit.analyzer.programs.types import Function

__all__: list[str] = []

_LIMIT = 33
"""MAX_TAIL_CALL_CNT."""
_MANY = 1 << 20


def _pairs(member: Member) -> Iterator[tuple[Function, Event, Event, State]]:
    """Yields a call of a subprogram that tail-calls, and what makes a tail call behind it in the same run of the
    function: the same call in a loop, another one, or the function itself.
    """
    for function, reached in member.code.called():
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
    """Returns the surest such pair."""
    return max(_pairs(member), key=lambda pair: pair[3], default=None)


def _words(member: Member, pair: tuple[Function, Event, Event, State]) -> str:
    function, first, second, _ = pair
    if second.callee is None:
        return f"{member.name}: {function.name}() calls {first.callee}(), which makes a tail call, and then makes one itself"
    if first.instruction == second.instruction:
        return f"{member.name}: {function.name}() calls {first.callee}(), which makes a tail call, in a loop"
    return f"{member.name}: {function.name}() calls {first.callee}() and then {second.callee}(), which both make tail calls"


def _runs(member: Member, name: str, above: frozenset[str] = frozenset()) -> int:
    """Returns the most times that a function is called in one run of its program."""
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


def _most(world: World, member: Member, above: tuple[Member, ...] = ()) -> int:
    """Returns the most tail calls that one run of a program can make where no count limits them."""
    if member in above or len(above) > _LIMIT:
        return _MANY
    total = 0
    for spot in member.code.spots():
        targets = {step.target for step in world.steps(member) if step.spot == spot}
        if targets:
            below = max(_most(world, target, (*above, member)) for target in targets)
            looped = spot.call.instruction in member.code.flow.behind(spot.call.instruction, spot.function)
            total += (_MANY if looped else _runs(member, spot.function.name)) * (1 + below)
    return min(total, _MANY)


def _in_a_loop(world: World, member: Member, other: Member) -> tuple[Way, Way]:
    """Returns the ways from a program to another one and back."""
    if other is member:
        return world.way(member, member), Way(State.MET)
    return world.way(member, other), world.way(other, member)


@named("sibling-tail-calls-in-a-loop")
def _sibling_tail_calls_in_a_loop(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for other in world.members:
            pair = _doubling(other)
            if pair is None:
                continue
            there, back = _in_a_loop(world, member, other)
            state = min(pair[3], there.state, back.state)
            where = (other.place(pair[0], pair[1].instruction), other.place(pair[0], pair[2].instruction))
            chain = (_words(other, pair), *there.chain, *back.chain)
            if state is not State.NOT_MET:
                text = f"{chain[0]}, and its tail calls lead back"
                why = there.why or back.why
                if state is State.POSSIBLE and why:
                    yield possible(f"{text}, if so: {why}", *where, settle=there.settle or back.settle, chain=chain)
                else:
                    yield seen(state, text, *where, chain=chain)
            elif other is member and _most(world, member) > _LIMIT:
                yield possible(f"{chain[0]}: more than {_LIMIT} tail calls in one run cannot be ruled out", *where)
        yield from _link(world, member)

    return strongest(found(), "no run of its functions makes tail calls one after the other in a chain that leads back")


def _link(world: World, member: Member) -> Iterator[Finding]:
    """A program that tail-calls into a prog array that others fill can be a link of a chain that doubles elsewhere."""
    way = world.way(member, member)
    if way.state is State.POSSIBLE and not way.steps:
        spot = next(iter(member.code.spots()))
        where = member.place(spot.function, spot.call.instruction)
        text = f"as a link: {way.why}, and one of them may call subprograms that tail-call back"
        yield possible(text, where, settle=way.settle)
