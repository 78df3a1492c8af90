"""Facts about programs that share a prog array but differ in a property, which the kernel's owner check compares or
misses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import permutations

from tailcall_audit.analyzer.exposure.answers import met, not_met, possible, strongest
from tailcall_audit.analyzer.exposure.facts.registry import named
from tailcall_audit.analyzer.exposure.sharing import Meeting, compared, meetings_of, world_meetings
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import EXTENSION, TRACING, Member, World

__all__: list[str] = []

_MAY_SLEEP = frozenset(("tracing", "lsm", "kprobe", "struct_ops", "syscall", "ext", "tracepoint", "raw_tracepoint"))
"""Program types of which some programs may sleep (can_be_sleepable() in kernel/bpf/verifier.c)."""
_CGROUP = "cgroup_"
_NOT_SHOWN = (
    "the kernel does not show it of a loaded program (struct bpf_prog_info); the name of the program's section does:"
    " tailcall-audit exposure OBJECT"
)
"""The fields of a program that its section's name may give: the expected attach type, and whether it may sleep (".s")."""


def _unless_equal(first: object, second: object) -> State:
    """Returns how sure it is that two values differ. None means that a value is not known."""
    if first is None or second is None:
        return State.POSSIBLE
    return State.NOT_MET if first == second else State.MET


@lru_cache(maxsize=4096)
def _target_type(world: World, extension: Member) -> str | None:
    """Returns the type of the program that an extension extends, None if it is not known."""
    for item in world.members:
        if world.is_attached(extension, item) is State.MET:
            return item.program.type
    return None


@lru_cache(maxsize=4096)
def _is_open(world: World, member: Member) -> bool:
    """Returns True if a tail call of a program may lead to programs that are not known."""
    return any(world.targets(member, spot.call).others for spot in member.code.spots())


@named("shares-a-prog-array-with-another-type")
def _shares_a_prog_array_with_another_type(world: World, member: Member) -> Finding:
    def differ(first: Member, second: Member) -> State:
        return _unless_equal(first.program.type, second.program.type)

    otherwise = "it meets no program of another type in a prog array"
    found = compared(world, member, differ, State.POSSIBLE, "they have different types", otherwise)
    if found.state is State.NOT_MET:
        for other in world.members:
            if differ(member, other) is not State.NOT_MET and (_is_open(world, member) or _is_open(world, other)):
                text = f"user space may try to put {member.name} and {other.name} into one prog array at once"
                return possible(text, member.place(), other.place())
    return found


@named("extension-shares-a-prog-array")
def _extension_shares_a_prog_array(world: World, member: Member) -> Finding:
    """The array is shared by an extension program and a program of its target's type, or an extension of another
    target.
    """

    def differ(first: Member, second: Member) -> State:
        kinds = (first.program.type, second.program.type)
        if None in kinds:
            return State.POSSIBLE
        if EXTENSION not in kinds:
            return State.NOT_MET
        if kinds == (EXTENSION, EXTENSION):
            return _unless_equal(_target_type(world, first), _target_type(world, second))
        return State.MET

    words = "one of them is an extension program"
    return compared(world, member, differ, State.POSSIBLE, words, "it meets no extension program in a prog array")


@named("extension-shares-a-prog-array-with-another-type")
def _extension_shares_a_prog_array_with_another_type(world: World, member: Member) -> Finding:
    """The array is shared by an extension program and a program of another type than the extension's target."""

    def kind(found: Member) -> str | None:
        return _target_type(world, found) if found.program.type == EXTENSION else found.program.type

    def differ(first: Member, second: Member) -> State:
        kinds = (first.program.type, second.program.type)
        if None not in kinds and EXTENSION not in kinds:
            return State.NOT_MET
        return _unless_equal(kind(first), kind(second))

    words = "one of them is an extension of a program of another type"
    return compared(
        world, member, differ, State.POSSIBLE, words, "it meets no extension of another type in a prog array"
    )


def _attach_value(name: str | None) -> str | None:
    """Returns the same for attach types of the same value: that of a program without one is that of the first name."""
    return "none" if name == "cgroup_inet_ingress" else name


@named("shares-a-prog-array-across-attach-types")
def _shares_a_prog_array_across_attach_types(world: World, member: Member) -> Finding:
    def differ(first: Member, second: Member) -> State:
        one, two = first.program, second.program
        if one.type is not None and two.type is not None and one.type != two.type:
            return State.NOT_MET
        return _unless_equal(_attach_value(one.expected_attach_type), _attach_value(two.expected_attach_type))

    words = "they have different expected attach types"
    otherwise = "it meets no program of another expected attach type in a prog array"
    return compared(world, member, differ, State.POSSIBLE, words, otherwise, decides=_NOT_SHOWN)


@named("shares-a-prog-array-across-sleepability")
def _shares_a_prog_array_across_sleepability(world: World, member: Member) -> Finding:
    def may_sleep(found: Member) -> bool | None:
        kind = found.program.type
        return False if kind is not None and kind not in _MAY_SLEEP else found.program.sleepable

    def differ(first: Member, second: Member) -> State:
        kinds = {first.program.type, second.program.type} - {None}
        return State.NOT_MET if len(kinds) > 1 else _unless_equal(may_sleep(first), may_sleep(second))

    kind = member.program.type
    outside = State.POSSIBLE if kind is None or kind in _MAY_SLEEP else State.NOT_MET
    words = "one of them may sleep and the other not"
    otherwise = "it meets no program that differs in whether it may sleep"
    return compared(world, member, differ, outside, words, otherwise, decides=_NOT_SHOWN)


def _of_cgroup(member: Member) -> bool:
    """Returns False for a program that can have no cgroup storage."""
    kind = member.program.type
    return kind is None or kind.startswith(_CGROUP)


@named("shares-a-prog-array-across-cgroup-storages")
def _shares_a_prog_array_across_cgroup_storages(world: World, member: Member) -> Finding:
    def differ(caller: Member, other: Member) -> State:
        # A program without storage reads none. A caller without storage passes none on.
        if not other.storages or caller.storages == other.storages:
            return State.NOT_MET
        return State.MET if caller.storages or caller.program.type is not None else State.POSSIBLE

    outside = State.POSSIBLE if _of_cgroup(member) else State.NOT_MET
    words = "they use different cgroup storages"
    return compared(
        world, member, differ, outside, words, "it meets no program with another cgroup storage in a prog array"
    )


@named("storageless-tail-caller-in-a-prog-array-with-storage")
def _storageless_tail_caller_in_a_prog_array_with_storage(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for item in meetings_of(world, member):
            state = min(item.state, item.other.code.surest)
            fits = item.caller.storages and not item.other.storages
            if fits and state is not State.NOT_MET:
                text = f"{item.other.name} has no cgroup storage, tail-calls on, and is in {item.array} of {item.caller.name}, which has one"
                places = (item.other.place(), item.caller.place())
                yield met(text, *places) if state is State.MET else possible(f"{text}, if so", *places)
        if not world.closed and _of_cgroup(member) and (any(member.code.spots()) or member.storages):
            yield possible("it may meet such a program in a prog array", member.place())

    return strongest(found(), "no program without storage that tail-calls is in a prog array of one with storage")


_Chain = tuple[Meeting, ...]
_Chains = dict[Member, _Chain]


def _over_storageless(first: Member, links: Mapping[Member, Sequence[Meeting]], down: bool, least: State) -> _Chains:
    """Returns the programs that a program leads to over programs without cgroup storage, each with the chain of tail
    calls; with `down` False, the programs that lead to it. Every tail call of a chain is at least as sure as `least`.
    """
    found: _Chains = {}
    open_ends: list[tuple[Member, _Chain]] = [(first, ())]
    for member, chain in open_ends:
        for item in links.get(member, ()):
            end = item.other if down else item.caller
            if item.state < least or end is first or end in found or (member is first and end.storages):
                continue
            found[end] = (*chain, item) if down else (item, *chain)
            if not end.storages:
                open_ends.append((end, found[end]))
    return found


@lru_cache(maxsize=4)
def _bridges(world: World) -> _Chains:
    """Returns, for each program that takes part in one, a chain of tail calls from a cgroup storage over programs
    without one to another storage: the surest one.
    """
    storing = [member for member in world.members if member.storages]
    below: dict[Member, list[Meeting]] = {}
    above: dict[Member, list[Meeting]] = {}
    for item in world_meetings(world) if storing else ():
        if not item.both_call:
            below.setdefault(item.caller, []).append(item)
            above.setdefault(item.other, []).append(item)
    found: _Chains = {}
    for least in (State.MET, State.POSSIBLE):
        down = {member: _over_storageless(member, below, True, least) for member in storing}
        up = {member: _over_storageless(member, above, False, least) for member in storing}
        for first, last in permutations(storing, 2):
            if first.storages != last.storages and last in down[first]:
                found.setdefault(first, down[first][last])
                found.setdefault(last, down[first][last])
                for member in down[first].keys() & up[last].keys():
                    found.setdefault(member, down[first][member] + up[last][member])
    return found


@named("bridge-between-cgroup-storages")
def _bridge_between_cgroup_storages(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        chain = _bridges(world).get(member)
        if chain is not None:
            members = [chain[0].caller, *(item.other for item in chain)]
            between = [item.name for item in members[1:-1]]
            verb, have = ("is", "has") if len(between) == 1 else ("are", "have")
            text = f"{members[0].name} and {members[-1].name} have different cgroup storages, and {', '.join(between)}, which {have} none, {verb} between them"
            words = tuple(
                f"{item.caller.name} tail-calls {item.array}, which holds {item.other.name}" for item in chain
            )
            places = tuple(dict.fromkeys(item.place() for item in members))
            yield Finding(min(item.state for item in chain), text, places, words)
        if not world.closed and _of_cgroup(member):
            yield possible(
                "another program without storage may be between it and one with another storage", member.place()
            )

    return strongest(found(), "no program without storage is between two with different ones")


@named("tracer-of-a-program-in-a-prog-array-of-its-type")
def _tracer_of_a_program_in_a_prog_array_of_its_type(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for item in meetings_of(world, member):
            for tracer, other in ((item.caller, item.other), (item.other, item.caller)):
                traces = tracer.program.type == TRACING and _traces_programs(world, tracer)
                if traces and other.program.type != TRACING:
                    kind = _target_type(world, tracer)
                    same = State.POSSIBLE if kind is None else State(2 * (kind == other.program.type))
                    state = min(item.state, same)
                    text = f"{tracer.name} traces a program of the type of {other.name}, and they meet in {item.array}"
                    if state is not State.NOT_MET:
                        yield Finding(state, text, (tracer.place(), other.place()))
        kind = member.program.type
        if not world.closed and (kind in (TRACING, None) or any(member.code.spots())):
            yield possible("a tracing program may be put into a prog array of its target's type", member.place())

    if member.program.type == TRACING and not _traces_programs(world, member):
        return not_met("it traces a function of the kernel")
    return strongest(found(), "no tracing program meets one of its target's type in a prog array")


def _traces_programs(world: World, tracer: Member) -> bool:
    """Returns True if a tracing program traces a BPF program's function, or may."""
    known = any(world.is_attached(tracer, item) is not State.NOT_MET for item in world.members)
    return known or world.may_have_other_target(tracer)
