"""Facts about extension programs (freplace): the functions that they replace, and the prog arrays that they share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from tailcall_audit.analyzer.exposure.answers import met, not_met, possible, strongest
from tailcall_audit.analyzer.exposure.facts.registry import named
from tailcall_audit.analyzer.exposure.sharing import meetings_of
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import EXTENSION, TRACING, Member, World

__all__: list[str] = []

_LOOK = "what is attached and in the prog arrays at run time: tailcall-audit exposure --loaded"
_CHANGES_PACKET = frozenset((9, 10, 11, 13, 18, 19, 31, 38, 39, 43, 44, 50, 54, 63, 65, 73, 74, 75, 76, 90, 91, 143))
"""Numbers of the helpers that move packet data: bpf_helper_changes_pkt_data() in net/core/filter.c of Linux 6.12."""

_ASK_FOR_THE_TYPE = frozenset(("bpf_dynptr_from_skb",))
"""Kernel functions for whose call the verifier asks for the type of the target before it looks whether there is one:
specialize_kfunc() in kernel/bpf/verifier.c, by Linux kernel commit b5964b968ac6 ("bpf: Add skb dynptrs") (in v6.4).
"""


def _replaceable(member: Member, in_calls: bool) -> Iterator[tuple[str, State]]:
    """Yields the functions that an extension can replace: global functions of a program that is not an extension
    itself.

    With `in_calls`, the main program is left out: a tail call enters it past the replaced entry.
    """
    if member.program.type in (EXTENSION, TRACING):
        return
    for function, reached in member.code.called():
        if in_calls and function is member.code.main:
            continue
        if function.is_global is not False:
            yield function.name, min(reached, State.MET if function.is_global else State.POSSIBLE)


@lru_cache(maxsize=4096)
def _loop(world: World, target: Member) -> tuple[Finding, ...]:
    """Returns the findings about a program that calls a function which an extension replaces (or may replace), and to
    which the extension's tail calls lead back.
    """
    return tuple(_replaced(world, target))


def _replaced(world: World, target: Member) -> Iterator[Finding]:
    extensions = list(world.attached(target, EXTENSION))
    for name, sure in _replaceable(target, in_calls=True):
        function = target.code.functions[name]
        begins = f"{target.name}: {' calls '.join(f'{step}()' for step in target.code.path_to(name))}"
        for extension, replaced, attached in extensions:
            way = world.way(extension, target)
            state = min(sure, attached, way.state)
            if replaced not in (name, None) or state is State.NOT_MET:
                continue
            chain = (begins, f"{name}() is replaced by {extension.name}", *way.chain)
            text = f"{extension.name} replaces {name}() of {target.name} and tail-calls it"
            if state is State.MET:
                yield met(text, target.place(function), extension.place(), *way.places, chain=chain)
            else:
                why = way.why or f"which program {extension.name} is attached to is not known"
                places = (target.place(function), extension.place())
                yield possible(f"{text}, if so: {why}", *places, settle=way.settle or _LOOK, chain=chain)
        if not world.closed:
            text = f"another program's extension may replace {name}() and tail-call back"
            yield possible(text, target.place(function), settle=_LOOK, chain=(begins,))


@named("extension-that-tail-calls-its-target")
def _extension_that_tail_calls_its_target(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        yield from _loop(world, member)
        for target in world.members:
            if target is member:
                continue
            way = min(world.way(member, target).state, _reached_from(world, target, member))
            for item in _loop(world, target) if way is not State.NOT_MET else ():
                yield item._replace(state=min(item.state, way))
        tail_calls = any(member.code.spots())
        if tail_calls and member.program.type in (EXTENSION, None) and world.may_have_other_target(member):
            yield possible(
                "it tail-calls, and may call back the program whose function it replaces", member.place(), settle=_LOOK
            )
        if tail_calls and not world.closed:
            text = "as a link: an extension may tail-call it, and it may tail-call the program that is extended"
            yield possible(text, member.place(), settle=_LOOK)

    return strongest(found(), "it calls no function that an extension can replace, and is part of no such loop")


def _reached_from(world: World, target: Member, member: Member) -> State:
    """Returns how sure it is that a program is part of a loop through `target`: as its extension, or on the
    path back.
    """
    states = [State.NOT_MET]
    for extension, _, attached in world.attached(target, EXTENSION):
        if extension is member:
            states.append(attached)
        else:
            states.append(min(attached, world.way(extension, member).state))
    return max(states)


@named("extension-without-a-known-target")
def _extension_without_a_known_target(_: World, member: Member) -> Finding:
    if member.program.type is None:
        return possible("its type is not known", member.place())
    if member.program.type != EXTENSION:
        return not_met("it is no extension program")
    known = any(item.program is not None for item in member.program.attachments)
    if known or member.program.has_target:
        return not_met("it is loaded for the program that it extends")
    without = "an extension program that is loaded without the program that it extends"
    if member.program.has_target is False:
        asks = member.code.kfuncs & _ASK_FOR_THE_TYPE
        if asks:
            return met(f"{without}, and calls {min(asks)}()", member.place())
        return possible(f"{without}: it is refused, unless the kernel asks for its target's type first", member.place())
    return possible(
        "an extension program is an oops here when it is loaded without its target, which the loader names",
        member.place(),
        settle="the loader must call bpf_program__set_attach_target() before the load",
    )


def _held(world: World, member: Member) -> Iterator[tuple[Member, str, State]]:
    """Yields the prog arrays that hold, or may hold, a program: the program that tail-calls into the array (the program
    itself if none does), the array's name, and how sure it is.
    """
    called = set()
    for item in meetings_of(world, member):
        if item.other is member and not item.both_call:
            called.add(item.array)
            yield item.caller, item.array, item.state
    for array in member.owner.maps:
        if array.name not in called and any(slot.program == member.program.key for slot in array.slots):
            yield member, array.name, State.MET


@named("extension-in-a-prog-array")
def _extension_in_a_prog_array(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for extension in world.members:
            if extension.program.type not in (EXTENSION, None):
                continue
            kind = State.MET if extension.program.type == EXTENSION else State.POSSIBLE
            targets = [item for item in world.members if world.is_attached(extension, item) is not State.NOT_MET]
            for owner, array, held in _held(world, extension):
                if member in (extension, owner, *targets):
                    state = min(held, kind)
                    text = f"{extension.name}, an extension program, is in {array}"
                    places = (extension.place(), owner.place())
                    yield (
                        met(text, *places) if state is State.MET else possible(f"{text}, if so", *places, settle=_LOOK)
                    )
        if not world.closed:
            if member.program.type in (EXTENSION, None):
                yield possible("it may be put into a prog array", member.place(), settle=_LOOK)
            elif any(member.code.spots()):
                yield possible("an extension program may be put into its prog array", member.place(), settle=_LOOK)
            elif any(_replaceable(member, in_calls=False)):
                yield possible("an extension of it may be put into a prog array", member.place(), settle=_LOOK)

    return strongest(found(), "no extension program can come into a prog array")


@named("replaced-program-in-a-prog-array")
def _replaced_program_in_a_prog_array(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for target in world.members:
            extensions = list(world.attached(target, EXTENSION))
            held = list(_held(world, target)) if extensions else []
            for extension, _, attached in extensions:
                for owner, array, state in held:
                    if member in (target, extension, owner):
                        least = min(attached, state)
                        text = f"{extension.name} replaces a function of {target.name}, which is in {array}"
                        places = (target.place(), extension.place())
                        yield (
                            met(text, *places)
                            if least is State.MET
                            else possible(f"{text}, if so", *places, settle=_LOOK)
                        )
        if not world.closed:
            if any(_replaceable(member, in_calls=False)):
                text = "an extension may replace a function of it, and it may be in a prog array"
                yield possible(text, member.place(), settle=_LOOK)
            elif member.program.type in (EXTENSION, None) or any(member.code.spots()):
                yield possible(
                    "a program that is replaced in part may be in a prog array", member.place(), settle=_LOOK
                )

    return strongest(found(), "no program with a replaced function can come into a prog array")


@named("tail-calling-extension-of-a-program-that-keeps-the-packet")
def _tail_calling_extension_of_a_program_that_keeps_the_packet(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for target in world.members:
            for extension, name, attached in world.attached(target, EXTENSION):
                if member in (target, extension) and any(extension.code.spots()):
                    least = min(attached, _keeps_packet(target, name))
                    text = (
                        f"{extension.name} tail-calls, and {target.name} does not move packet data where it is replaced"
                    )
                    if least is not State.NOT_MET:
                        yield (
                            met(text, extension.place(), target.place())
                            if least is State.MET
                            else possible(f"{text}, if so", extension.place(), settle=_LOOK)
                        )
        if (
            any(member.code.spots())
            and member.program.type in (EXTENSION, None)
            and world.may_have_other_target(member)
        ):
            yield possible("it tail-calls, and its target may be one that moves no packet data", member.place())
        if not world.closed and any(_replaceable(member, in_calls=False)):
            yield possible("another program's extension of it may tail-call", member.place(), settle=_LOOK)

    return strongest(found(), "no extension of it tail-calls, and it is no extension that tail-calls")


def _keeps_packet(target: Member, name: str | None) -> State:
    """Returns how sure it is that neither a function nor those that it calls use a helper that moves packet data."""
    if name is None or name not in target.code.functions:
        return State.POSSIBLE
    functions = [target.code.functions[found] for found in target.code.below(name)]
    calls = [call for function in functions for call in function.helpers]
    if any(call.helper in _CHANGES_PACKET for call in calls) or name in target.code.tail_calling:
        return State.NOT_MET
    return State.POSSIBLE if any(call.kfunc is not None for call in calls) else State.MET
