"""Which programs meet in a prog array: those that tail-call into it, and those that are in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from tailcall_audit.analyzer.exposure.answers import possible, strongest
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import Member, World

__all__ = ["Meeting", "compared", "meetings_of", "world_meetings"]

_LOOK = "what is in the prog arrays at run time: tailcall-audit exposure --loaded, or --closed"
Compare = Callable[[Member, Member], State]
"""How sure it is that two programs differ: the one that tail-calls (or another that does), and the one that it meets."""


class Meeting(NamedTuple):
    """Two programs that meet in a prog array. `caller` tail-calls into it; `other` is in it, or (`both_call`) tail-calls
    into it too.
    """

    caller: Member
    other: Member
    array: str
    state: State
    both_call: bool


def _meetings(world: World) -> Iterator[Meeting]:
    """Yields every pair of programs of the sets that meets in a prog array, or may."""
    users: dict[tuple[int, str], list[Member]] = {}
    for member in world.members:
        for spot in member.code.spots():
            name = spot.call.map or "a prog array"
            targets = world.targets(member, spot.call)
            yield from (Meeting(member, item, name, spot.state, False) for _, item in targets.known)
            if targets.others is not None:
                yield from (Meeting(member, item, name, State.POSSIBLE, False) for item in targets.candidates)
            if spot.call.map is not None:
                users.setdefault((id(member.owner), name), []).append(member)
    for (_, name), group in users.items():
        for first in group:
            yield from (Meeting(first, second, name, State.MET, True) for second in group if second is not first)


def compared(world: World, member: Member, differ: Compare, outside: State, words: str, otherwise: str) -> Finding:
    """Returns how sure it is that a program meets one that differs from it.

    `differ` compares two of the sets, `outside` says how much a program of others could differ from this one. `words`
    says in what.
    """

    def found() -> Iterator[Finding]:
        for item in meetings_of(world, member):
            if item.caller is not item.other:
                state = min(item.state, differ(item.caller, item.other))
                text = f"{item.caller.name} and {item.other.name} meet in {item.array} and {words}"
                places = (item.caller.place(), item.other.place())
                if state is not State.NOT_MET:
                    sure = state is State.MET
                    yield Finding(state, text if sure else f"{text}, if so", places, (), None if sure else _LOOK)
        if not world.closed and outside is not State.NOT_MET:
            yield possible(
                f"it may meet another program in a prog array, and they {words}", member.place(), settle=_LOOK
            )

    return strongest(found(), otherwise)


@lru_cache(maxsize=4)
def world_meetings(world: World) -> tuple[Meeting, ...]:
    """Returns the meetings of a world, found once."""
    return tuple(_meetings(world))


@lru_cache(maxsize=4)
def _by_member(world: World) -> dict[Member, list[Meeting]]:
    found: dict[Member, list[Meeting]] = {}
    for item in world_meetings(world):
        for member in {item.caller, item.other}:
            found.setdefault(member, []).append(item)
    return found


def meetings_of(world: World, member: Member) -> list[Meeting]:
    """Returns the meetings that a program takes part in."""
    return _by_member(world).get(member, [])
