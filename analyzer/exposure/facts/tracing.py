"""Facts about programs in the trampoline of another BPF program's function (fentry, fexit, fmod_ret)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations

from tailcall_audit.analyzer.exposure.answers import possible, seen, strongest
from tailcall_audit.analyzer.exposure.facts.registry import named
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import LOOK_AT_ATTACHED, TRACING, Member, World

__all__: list[str] = []

_TARGET = "the program that the loader attaches it to: tailcall-audit exposure --loaded"


def _traceable(member: Member) -> Iterator[tuple[str, State]]:
    """Yields the subprograms of a program that make tail calls, directly or in a function that they call."""
    code = member.code
    for function, reached in code.called():
        if function is not code.main and function.name in code.tail_calling:
            yield function.name, min(reached, code.tail_calling[function.name])


@lru_cache(maxsize=4096)
def _target(world: World, target: Member) -> tuple[Finding, ...]:
    """Returns the findings about a program with a tail-calling subprogram that is traced, or may be."""
    return tuple(_traced(world, target))


def _traced(world: World, target: Member) -> Iterator[Finding]:
    tracers = list(world.attached(target, TRACING))
    for name, sure in _traceable(target):
        way = world.way(target, target, target.code.below(name))
        if way.state is State.NOT_MET:
            continue
        function = target.code.functions[name]
        begins = f"{target.name}: {' calls '.join(f'{step}()' for step in target.code.path_to(name))}"
        for tracer, traced, attached in tracers:
            if traced in (name, None):
                state = min(sure, way.state, attached)
                chain = (begins, f"{name}() is traced by {tracer.name}", *way.chain)
                text = f"{name}() makes a tail call, and {tracer.name} traces it"
                if state is State.MET:
                    yield seen(state, text, target.place(function), tracer.place(), *way.places, chain=chain)
                else:
                    why = way.why or f"which program {tracer.name} is attached to is not known"
                    settle = way.settle or _TARGET
                    yield possible(f"{text}, if so: {why}", target.place(function), settle=settle, chain=chain)
        if not world.closed:
            text = f"{name}() makes a tail call, and another program may trace it"
            yield possible(
                text, target.place(function), settle=world.settled_by(LOOK_AT_ATTACHED), chain=(begins, *way.chain)
            )


def _tracer(world: World, tracer: Member) -> Iterator[Finding]:
    """Yields the findings about a program that traces a program of the sets, or may trace another one."""
    for target in world.members:
        traced = {item for item, _, _ in world.attached(target, TRACING)}
        if tracer in traced:
            yield from _target(world, target)
    if world.may_have_other_target(tracer):
        text = "it may be attached to a subprogram of another program, which tail-calls"
        yield possible(text, tracer.place(), settle=_TARGET)


def _link(world: World, member: Member) -> Iterator[Finding]:
    """Yields the findings about a program that is part of a loop through another program's trampoline."""
    for target in world.members:
        if target is not member:
            way = min(world.way(member, target).state, world.way(target, member).state)
            for found in _target(world, target) if way is not State.NOT_MET else ():
                yield found._replace(state=min(found.state, way))
    yield from world.open_link(member, "a subprogram of one of them may be traced")


@named("traced-subprogram-in-a-tail-call-loop")
def _traced_subprogram_in_a_tail_call_loop(world: World, member: Member) -> Finding:
    found = [*_target(world, member), *_link(world, member)]
    if member.is_tracer or member.program.type is None:
        found += _tracer(world, member)
    return strongest(found, "it has no subprogram that tail-calls back, and traces none")


@named("traced-subprogram-that-tail-calls")
def _traced_subprogram_that_tail_calls(world: World, member: Member) -> Finding:
    traces = member.is_tracer or member.program.type is None

    def found() -> Iterator[Finding]:
        for target in world.members if traces else (member,):
            tracers = list(world.attached(target, TRACING))
            for name, sure in _traceable(target):
                place = target.place(target.code.functions[name])
                for tracer, traced, attached in tracers:
                    if traced in (name, None) and member in (target, tracer):
                        state = min(sure, attached)
                        text = f"{name}() makes a tail call, and {tracer.name} traces it"
                        yield Finding(state, text, (place, tracer.place()), (), _settle(state))
                if target is member and not world.closed:
                    text = f"{name}() makes a tail call, and another program may trace it"
                    yield possible(text, place, settle=world.settled_by(LOOK_AT_ATTACHED))
        if traces and world.may_have_other_target(member):
            text = "it may be attached to a subprogram of another program, which tail-calls"
            yield possible(text, member.place(), settle=_TARGET)

    return strongest(found(), "it has no subprogram that tail-calls, and traces none")


@named("two-tracers-of-a-tail-calling-program")
def _two_tracers_of_a_tail_calling_program(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for target in world.members:
            spots = list(target.code.spots())
            tracers = list(world.attached(target, TRACING))
            if not spots or (member is not target and all(item is not member for item, _, _ in tracers)):
                continue
            sure = max(spot.state for spot in spots)
            for (first, name, state), (second, other, second_state) in combinations(tracers, 2):
                if name == other or None in (name, other):
                    least = min(sure, state, second_state)
                    text = f"{target.name} tail-calls, and {first.name} and {second.name} trace the same function of it"
                    yield Finding(least, text, (target.place(), first.place(), second.place()), (), _settle(least))
            if not world.closed:
                yield possible(
                    f"{target.name} tail-calls, and other programs may trace it",
                    target.place(),
                    settle=world.settled_by(LOOK_AT_ATTACHED),
                )
        tracer = member.is_tracer or member.program.type is None
        if tracer and world.may_have_other_target(member):
            yield possible("it may be attached to another program, which tail-calls", member.place(), settle=_TARGET)

    return strongest(found(), "it makes no tail call, or is traced by one program at most")


def _settle(state: State) -> str | None:
    return _TARGET if state is State.POSSIBLE else None
