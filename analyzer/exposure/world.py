"""All known programs, and the tail calls and attachments between them. Unless the world is closed, unknown programs may
add to these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from tailcall_audit.analyzer.exposure.answers import possible
from tailcall_audit.analyzer.exposure.code import Spot
from tailcall_audit.analyzer.exposure.member import EXTENSION, TRACING, Member
from tailcall_audit.analyzer.exposure.types import Finding, Place, State
from tailcall_audit.analyzer.programs.types import Program, ProgramSet, TailCall

__all__ = ["EXTENSION", "LOOK", "LOOK_AT_ATTACHED", "TRACING", "Member", "Step", "Targets", "Way", "World", "may_share"]

LOOK = "tailcall-audit exposure --loaded shows what the host has; --closed says that nothing else is put in"
"""The advice for "possible" findings: how to learn which programs are in a prog array."""
LOOK_AT_ATTACHED = "tailcall-audit exposure --loaded shows what is attached; --closed says that nothing else is"
"""The same, for which programs are attached."""


class Step(NamedTuple):
    """A tail call from one program to another. `state` is met if the slot surely holds the target."""

    source: Member
    spot: Spot
    key: int | None
    target: Member
    state: State

    def __str__(self) -> str:
        call = self.spot.call
        key = "…" if self.key is None else str(self.key)
        return f"{self.source.name}: {self.spot.function.name}() tail-calls {call.map or 'a prog array'}[{key}], which is {self.target.name}"


class Targets(NamedTuple):
    """The possible targets of a tail call: programs known to be in its slots, and, in a closed world, programs of the
    sets that user space may put there. `others` is the reason why further programs may be there (None: none can).
    """

    known: tuple[tuple[int, Member], ...]
    candidates: tuple[Member, ...]
    others: str | None


class Way(NamedTuple):
    """A path of tail calls from one program to another. `why` says what is not known of a possible path."""

    state: State
    steps: tuple[Step, ...] = ()
    why: str = ""
    settle: str | None = None

    @property
    def chain(self) -> tuple[str, ...]:
        """The steps in words."""
        return tuple(map(str, self.steps))

    @property
    def places(self) -> tuple[Place, ...]:
        """The places of the tail calls."""
        return tuple(step.source.place(step.spot.function, step.spot.call.instruction) for step in self.steps)


def may_share(first: Program, second: Program) -> bool:
    """Returns False if two programs can never share a prog array, because both types are known and differ.

    An extension program has the type of its target, which may be unknown.
    """
    kinds = {first.type, second.type}
    return len(kinds) == 1 or None in kinds or EXTENSION in kinds


class World:
    """The programs of all sets. `closed`: the user states that there are no other programs and no other attachments. A
    program whose instructions are not known may do what one that is not known may: with it, the world is open.

    Even in a closed world, user space may put programs of the sets into an object's prog array, unless the object fills
    the array itself or its slots were read (`Map.slots_are_all`).
    """

    def __init__(self, sets: Sequence[ProgramSet], closed: bool = False) -> None:
        self.sets = tuple(sets)
        keys = [program.key for owner in sets for program in owner.programs]
        self.members = tuple(
            Member(owner, program, program.key if keys.count(program.key) == 1 else f"{owner.label}: {program.key}")
            for owner in sets
            for program in owner.programs
        )
        self.closed = closed and all(member.is_read for member in self.members)
        self._targets: dict[int, Targets] = {}

    def member(self, owner: ProgramSet, key: str | None) -> Member | None:
        """Returns the program with a key in a set."""
        return None if key is None else self._by_key.get((id(owner), key))

    @cached_property
    def _by_key(self) -> dict[tuple[int, str], Member]:
        return {(id(item.owner), item.program.key): item for item in reversed(self.members)}

    def targets(self, member: Member, call: TailCall) -> Targets:
        """Returns the possible targets of a tail call of a program."""
        if id(call) not in self._targets:
            self._targets[id(call)] = self._find_targets(member, call)
        return self._targets[id(call)]

    def _find_targets(self, member: Member, call: TailCall) -> Targets:
        array = member.map(call.map)
        sharing = tuple(item for item in self.members if may_share(item.program, member.program)) if self.closed else ()
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

    def way(self, source: Member, target: Member, within: frozenset[str] | None = None) -> Way:
        """Returns the surest path of tail calls from a program to another, or back to itself.

        `within` names the functions of `source` whose tail calls may start the path (None: all).
        """
        for least in (State.MET, State.POSSIBLE):
            steps = self._shortest(source, target, within, least)
            if steps:
                state = min(step.state for step in steps)
                return Way(state, steps, *self._doubts(steps))
        if not self.closed:
            for spot in source.code.spots():
                if within is None or spot.function.name in within:
                    why = self.targets(source, spot.call).others
                    if why is not None:
                        return Way(State.POSSIBLE, (), why, LOOK)
        return Way(State.NOT_MET)

    def open_link(self, member: Member, what: str) -> Iterator[Finding]:
        """Yields a possible finding for a program that tail-calls into a prog array which unknown programs may be put
        into. It may be part of a loop; `what` says what one of those programs does then. Yields nothing in a closed
        world.
        """
        for spot, where in member.tail_calls if not self.closed else ():
            why = self.targets(member, spot.call).others
            if why is not None:
                yield possible(f"as a link: {why}, and {what}", where, settle=LOOK)
                return

    def loop(self, source: Member) -> Way:
        """Returns the surest path of tail calls from a program into a loop: back to itself, or a loop among the
        programs that it reaches.
        """
        for least in (State.MET, State.POSSIBLE):
            behind = self._reachable[least][source]
            ends = [source] if source in behind else [item for item in behind if item in self._reachable[least][item]]
            for end in sorted(ends, key=lambda item: item.name)[:1]:
                there = () if end is source else self._shortest(source, end, None, least)
                steps = (*there, *self._shortest(end, end, None, least))
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
            return why, LOOK
        return "", None

    @cached_property
    def _reachable(self) -> dict[State, dict[Member, frozenset[Member]]]:
        """The programs that each program can reach, by the state that every step must have at least."""
        return {
            least: {member: frozenset(self._walk(member, least)) for member in self.members}
            for least in (State.MET, State.POSSIBLE)
        }

    def _walk(self, member: Member, least: State) -> set[Member]:
        seen: set[Member] = set()
        open_ends = [member]
        while open_ends:
            for step in self._steps[open_ends.pop()]:
                if step.state >= least and step.target not in seen:
                    seen.add(step.target)
                    open_ends.append(step.target)
        return seen

    def _shortest(
        self, source: Member, target: Member, within: frozenset[str] | None, least: State
    ) -> tuple[Step, ...]:
        if target not in self._reachable[least][source]:
            return ()
        ways: dict[Member, tuple[Step, ...]] = {}
        for step in self._steps[source]:
            if step.state >= least and (within is None or step.spot.function.name in within):
                ways.setdefault(step.target, (step,))
        open_ends = list(ways)
        for found in open_ends:
            if target in ways:
                break
            for step in self._steps[found]:
                if step.state >= least and step.target not in ways:
                    ways[step.target] = (*ways[found], step)
                    open_ends.append(step.target)
        return ways.get(target, ())

    @cached_property
    def _by_type(self) -> dict[str | None, tuple[Member, ...]]:
        kinds = {member.program.type for member in self.members}
        return {kind: tuple(item for item in self.members if item.program.type == kind) for kind in kinds}

    def attached(self, member: Member, kind: str) -> Iterator[tuple[Member, str | None, State]]:
        """Yields the programs of a type that are attached, or may be attached, to a program of the sets. Each comes
        with the function that it is attached to (None: not known), once for each function.
        """
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
