"""Finds the programs that share a prog array: those that tail-call into it, and those that it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from tailcall_audit.analyzer.exposure.answers import possible, strongest
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import LOOK, Member, World

__all__ = ["Meeting", "compared", "meetings_of", "world_meetings"]

Compare = Callable[[Member, Member], State]
"""Returns how sure it is that two programs differ. The first one makes tail calls into the array; the second one is in
the array or makes tail calls into it too.
"""


class Meeting(NamedTuple):
    """Two programs that share a prog array. `caller` tail-calls into it and `other` is in it. With `both_call`, either
    both tail-call into it or both are in it.
    """

    caller: Member
    other: Member
    array: str
    state: State
    both_call: bool


def _meetings(world: World) -> Iterator[Meeting]:
    """Yields every pair of programs of the sets that share a prog array, or may share it, once for each array."""
    users: dict[tuple[int, str], dict[Member, None]] = {}
    found: dict[tuple[Member, Member, str], State] = {}
    for member in world.members:
        for step in world.steps(member):
            name = step.spot.call.map or "a prog array"
            key = (member, step.target, name)
            found[key] = max(step.state, found.get(key, State.NOT_MET))
        for spot in member.code.spots():
            if spot.call.map is not None:
                users.setdefault((id(member.owner), spot.call.map), {})[member] = None
    yield from (Meeting(caller, other, name, state, False) for (caller, other, name), state in found.items())
    for (_, name), group in users.items():
        for first in group:
            yield from (Meeting(first, second, name, State.MET, True) for second in group if second is not first)
    # The kernel compares each program in an array with the first one. They call each other only if another program
    # calls them.
    for owner in world.sets:
        for array in owner.maps:
            held = [item for slot in array.slots if (item := world.member(owner, slot.program)) is not None]
            for first, second in combinations(dict.fromkeys(held), 2):
                yield Meeting(first, second, array.name, State.POSSIBLE, True)


def compared(
    world: World,
    member: Member,
    differ: Compare,
    outside: State,
    words: str,
    otherwise: str,
    *,
    decides: str | None = None,
) -> Finding:
    """Returns how sure it is that a program shares a prog array with a program that differs from it.

    `differ` compares two programs of the sets. `outside` is how much a program that is not in the sets may differ.
    `words` is a sentence that describes the difference. `decides` says what shows it, where the programs surely meet.
    """

    def found() -> Iterator[Finding]:
        for item in meetings_of(world, member):
            if item.caller is not item.other:
                state = differ(item.caller, item.other)
                if state is State.NOT_MET:
                    continue
                state = min(item.state, state)
                text = f"{item.caller.name} and {item.other.name} meet in {item.array}: {words}"
                places = (item.caller.place(), item.other.place())
                settle = decides if decides is not None and item.state is State.MET else world.settled_by(LOOK)
                sure = state is State.MET
                yield Finding(state, text if sure else f"{text}, if so", places, (), None if sure else settle)
        if not world.closed and outside is not State.NOT_MET:
            yield possible(
                f"another program may meet it in a prog array: {words}", member.place(), settle=world.settled_by(LOOK)
            )

    return strongest(found(), otherwise)


@lru_cache(maxsize=4)
def world_meetings(world: World) -> tuple[Meeting, ...]:
    """Returns the meetings of a world. They are computed once."""
    return tuple(_meetings(world))


@lru_cache(maxsize=4)
def _by_member(world: World) -> dict[Member, list[Meeting]]:
    found: dict[Member, list[Meeting]] = {}
    for item in world_meetings(world):
        for member in {item.caller, item.other}:
            found.setdefault(member, []).append(item)
    return found


def meetings_of(world: World, member: Member) -> list[Meeting]:
    """Returns the meetings in which a program takes part."""
    return _by_member(world).get(member, [])
