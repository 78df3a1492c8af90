"""All known programs, and the tail calls and attachments between them. Unless the world is closed, unknown programs may
add to these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from tailcall_audit.analyzer.exposure.answers import possible
from tailcall_audit.analyzer.exposure.member import EXTENSION, TRACING, Member
from tailcall_audit.analyzer.exposure.paths import Paths, Step, Way
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.programs.types import ProgramSet, TailCall

__all__ = [
    "EXTENSION",
    "LOOK",
    "LOOK_AT_ATTACHED",
    "TRACING",
    "Advice",
    "Member",
    "Step",
    "Targets",
    "Way",
    "World",
    "may_share",
]


class Advice(NamedTuple):
    """Two ways to decide a "possible" finding: the command that shows it on a host, and the option that states it."""

    shown: str
    stated: str


LOOK = Advice("tailcall-audit exposure --loaded shows what the host has", "--closed says that nothing else is put in")
"""For findings about the programs in a prog array."""
LOOK_AT_ATTACHED = Advice(
    "tailcall-audit exposure --loaded shows what is attached", "--closed says that nothing else is"
)
"""For findings about attached programs."""


class Targets(NamedTuple):
    """The possible targets of a tail call: programs known to be in its slots, and, in a closed world, programs of the
    sets that user space may put there. `others` is the reason why further programs may be there (None: none can).
    """

    known: tuple[tuple[int, Member], ...]
    candidates: tuple[Member, ...]
    others: str | None


def may_share(first: str | None, second: str | None) -> bool:
    """Returns False if programs of two types can never share a prog array, because both types are known and differ.

    An extension program has the type of its target, which may be unknown.
    """
    kinds = {first, second}
    return len(kinds) == 1 or None in kinds or EXTENSION in kinds


class World:
    """The programs of all sets. `closed`: the user states that there are no other programs and no other attachments. A
    program whose instructions are not known may do what one that is not known may: with it, the world is open. So it is
    without `complete`, if some programs could not be read.

    Even in a closed world, user space may put programs of the sets into an object's prog array, unless the object fills
    the array itself or its slots were read (`Map.slots_are_all`).
    """

    def __init__(self, sets: Sequence[ProgramSet], closed: bool = False, complete: bool = True) -> None:
        self.sets = tuple(sets)
        keys = Counter(program.key for owner in sets for program in owner.programs)
        self.members = tuple(
            Member(owner, program, program.key if keys[program.key] == 1 else f"{owner.label}: {program.key}")
            for owner in sets
            for program in owner.programs
        )
        self.closed = closed and complete and all(member.is_read for member in self.members)
        self._is_stated = closed
        self._targets: dict[tuple[int, str | None, int | None, str | None], Targets] = {}
        self._sharing: dict[str | None, tuple[Member, ...]] = {}
        self._ways: dict[tuple[Member, Member, frozenset[str] | None], Way] = {}
        self._loops: dict[Member, Way] = {}
        self._attached: dict[tuple[Member, str], tuple[tuple[Member, str | None, State], ...]] = {}
        self._attachments: dict[tuple[Member, Member], tuple[tuple[str | None, State], ...]] = {}

    def settled_by(self, advice: Advice) -> str:
        """Returns the advice, without the statement that the user has made already."""
        return advice.shown if self._is_stated else "; ".join(advice)

    def member(self, owner: ProgramSet, key: str | None) -> Member | None:
        """Returns the program with a key in a set."""
        return None if key is None else self._by_key.get((id(owner), key))

    @cached_property
    def _by_key(self) -> dict[tuple[int, str], Member]:
        return {(id(item.owner), item.program.key): item for item in reversed(self.members)}

    def targets(self, member: Member, call: TailCall) -> Targets:
        """Returns the possible targets of a tail call of a program."""
        key = (id(member.owner), call.map, call.key, member.program.type)
        if key not in self._targets:
            self._targets[key] = self._find_targets(member, call)
        return self._targets[key]

    def _sharing_with(self, kind: str | None) -> tuple[Member, ...]:
        """Returns the programs that may share a prog array with a program of a type."""
        if kind not in self._sharing:
            self._sharing[kind] = tuple(item for item in self.members if may_share(item.program.type, kind))
        return self._sharing[kind]

    def _find_targets(self, member: Member, call: TailCall) -> Targets:
        array = member.map(call.map)
        sharing = self._sharing_with(member.program.type) if self.closed else ()
        if array is None:
            return Targets((), sharing, "which prog array it uses is not known")
        if array.is_without(call.key):
            return Targets((), (), None)
        slots = [slot for slot in array.slots if call.key is None or slot.key == call.key]
        found = [(slot.key, self.member(member.owner, slot.program)) for slot in slots]
        known = tuple((key, item) for key, item in found if item is not None)
        if not self.closed:
            return Targets(known, (), f"{array.name} may be given other programs at run time")
        if len(known) < len(found):
            return Targets(known, sharing, f"a program in {array.name} could not be read")
        if not array.slots_are_all and not array.slots:
            return Targets(known, sharing, f"what user space puts into {array.name} is not known from here")
        return Targets(known, (), None)

    @cached_property
    def _steps(self) -> dict[Member, tuple[Step, ...]]:
        return {member: tuple(self._steps_from(member)) for member in self.members}

    def _steps_from(self, member: Member) -> Iterator[Step]:
        seen: set[tuple[str, str | None]] = set()
        for spot in member.code.spots():
            targets = self.targets(member, spot.call)
            for key, target in targets.known:
                yield Step(member, spot, key, target, spot.state)
            # If any program may be in a slot, all tail calls of a function into that map have the same candidates: the
            # first is enough.
            if targets.others is not None and (spot.function.name, spot.call.map) not in seen:
                seen.add((spot.function.name, spot.call.map))
                for target in targets.candidates:
                    yield Step(member, spot, spot.call.key, target, State.POSSIBLE)

    def steps(self, member: Member) -> tuple[Step, ...]:
        """Returns the tail calls of a program that lead, or may lead, to programs of the sets."""
        return self._steps[member]

    @cached_property
    def _steps_at(self) -> dict[Member, list[Step]]:
        found: dict[Member, list[Step]] = {member: [] for member in self.members}
        for member in self.members:
            for step in self._steps[member]:
                found[member].append(step)
                if step.target is not member:
                    found[step.target].append(step)
        return found

    def steps_at(self, member: Member) -> Sequence[Step]:
        """Returns the tail calls that lead from or to a program, in the order of the programs that make them."""
        return self._steps_at[member]

    @cached_property
    def _paths(self) -> Paths:
        return Paths(self._steps)

    def way(self, source: Member, target: Member, within: frozenset[str] | None = None) -> Way:
        """Returns the surest path of tail calls from a program to another, or back to itself.

        `within` names the functions of `source` whose tail calls may start the path (None: all).
        """
        key = (source, target, within)
        if key not in self._ways:
            self._ways[key] = self._find_way(source, target, within)
        return self._ways[key]

    def _find_way(self, source: Member, target: Member, within: frozenset[str] | None) -> Way:
        for least in (State.MET, State.POSSIBLE):
            steps = self._paths.shortest(source, target, least, within)
            if steps:
                return Way(min(step.state for step in steps), steps, *self._doubts(steps))
        if not self.closed:
            for spot in source.code.spots():
                if within is None or spot.function.name in within:
                    why = self.targets(source, spot.call).others
                    if why is not None:
                        return Way(State.POSSIBLE, (), why, self.settled_by(LOOK))
        return Way(State.NOT_MET)

    def open_link(self, member: Member, what: str) -> Iterator[Finding]:
        """Yields a possible finding for a program that tail-calls into a prog array which unknown programs may be put
        into. It may be part of a loop; `what` says what one of those programs does then. Yields nothing in a closed
        world.
        """
        for spot, where in member.tail_calls if not self.closed else ():
            why = self.targets(member, spot.call).others
            if why is not None:
                yield possible(f"as a link: {why}, and {what}", where, settle=self.settled_by(LOOK))
                return

    def loop(self, source: Member) -> Way:
        """Returns the surest path of tail calls from a program into a loop: back to itself, or a loop among the
        programs that it reaches.
        """
        if source not in self._loops:
            self._loops[source] = self._find_loop(source)
        return self._loops[source]

    def _find_loop(self, source: Member) -> Way:
        paths = self._paths
        for least in (State.MET, State.POSSIBLE):
            behind = paths.reached(source, least)
            ends = [source] if source in behind else [item for item in behind if item in paths.reached(item, least)]
            if ends:
                end = min(ends, key=lambda item: item.name)
                there = () if end is source else paths.shortest(source, end, least)
                steps = (*there, *paths.shortest(end, end, least))
                return Way(min(step.state for step in steps), steps, *self._doubts(steps))
        return self.way(source, source)

    def _doubts(self, steps: Sequence[Step]) -> tuple[str, str | None]:
        """Returns what is not known of a path, and how it could be decided."""
        for step in steps:
            if step.state is State.MET:
                continue
            why = self.targets(step.source, step.spot.call).others
            if why is None or any(item is step.target for _, item in self.targets(step.source, step.spot.call).known):
                return "the verifier may remove the tail call: it is behind a value that is constant at load time", None
            return why, self.settled_by(LOOK)
        return "", None

    @cached_property
    def _by_type(self) -> dict[str | None, tuple[Member, ...]]:
        kinds = {member.program.type for member in self.members}
        return {kind: tuple(item for item in self.members if item.program.type == kind) for kind in kinds}

    def attached(self, member: Member, kind: str) -> tuple[tuple[Member, str | None, State], ...]:
        """Returns the programs of a type that are attached, or may be attached, to a program of the sets. Each comes
        with the function that it is attached to (None: not known), once for each function.
        """
        if (member, kind) not in self._attached:
            self._attached[member, kind] = tuple(self._find_attached(member, kind))
        return self._attached[member, kind]

    def _find_attached(self, member: Member, kind: str) -> Iterator[tuple[Member, str | None, State]]:
        for other in (*self._by_type.get(kind, ()), *self._by_type.get(None, ())):
            if other is not member and (other.program.type is None or kind != TRACING or other.is_tracer):
                for function, state in self.attachments(other, member):
                    yield other, function, state if other.program.type is not None else State.POSSIBLE

    def attachments(self, attached: Member, target: Member) -> tuple[tuple[str | None, State], ...]:
        """Returns the functions of a target to which a tracing or extension program is attached, and how sure that is;
        none if it is not attached to the target.

        An object gives only the name of a function. The loader chooses the program, or the kernel, that has this
        function.
        """
        key = (attached, target)
        if key not in self._attachments:
            self._attachments[key] = self._find_attachments(attached, target)
        return self._attachments[key]

    def _find_attachments(self, attached: Member, target: Member) -> tuple[tuple[str | None, State], ...]:
        if not attached.program.attachments:
            return ((None, State.POSSIBLE),)
        found: dict[tuple[str | None, State], None] = {}
        for item in attached.program.attachments:
            if item.program is not None:
                if attached.owner is target.owner and item.program == target.program.key:
                    found[item.function, State.MET if item.hook is None else State.POSSIBLE] = None
            elif item.function is not None and item.function in target.code.functions:
                found[item.function, State.POSSIBLE] = None
        return tuple(found)

    def is_attached(self, attached: Member, target: Member) -> State:
        """Returns how sure it is that a tracing or extension program is attached to a program."""
        return max((state for _, state in self.attachments(attached, target)), default=State.NOT_MET)

    def may_have_other_target(self, attached: Member) -> bool:
        """Returns True if a tracing or extension program may be attached to a program that is in none of the sets."""
        known = attached.program.attachments
        unknown = any(item.program is None and item.function is not None for item in known)
        return not self.closed and (not known or unknown)
