"""What is not met in an open world stays so, whatever others load, put into a prog array and attach.

The oracle follows the chains of tail calls itself, in sets of which everything is known: it shares no code with the
facts, and looks at names and slots only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.exposure.facts.registry import facts
from tailcall_audit.analyzer.exposure.types import State
from tailcall_audit.analyzer.exposure.world import World
from tailcall_audit.analyzer.programs.types import Program, ProgramSet
from tests.exposure.assembled import array, made
from tests.exposure.shapes import caller, extension, plain, replaceable, tracer


class Kind(NamedTuple):
    """What the oracle knows of a program: whether it tail-calls (in `sub`, or itself), twice in one run, and whether its
    `sub` can be replaced.
    """

    make: object
    tail_calls: bool = False
    in_sub: bool = False
    twice: bool = False
    replaceable: bool = False
    attaches: str | None = None


def _replaceable_tail_caller(name: str) -> Program:
    found = caller(1, name=name, kind="xdp")
    return found._replace(functions=tuple(item._replace(is_global=True) for item in found.functions))


KINDS = {
    "once": Kind(lambda name: caller(1, name=name, kind="xdp"), tail_calls=True, in_sub=True),
    "twice": Kind(lambda name: caller(2, name=name, kind="xdp"), tail_calls=True, in_sub=True, twice=True),
    "plain": Kind(lambda name: plain(name, tail_calls=True, kind="xdp"), tail_calls=True),
    "leaf": Kind(lambda name: plain(name, kind="xdp")),
    "open": Kind(lambda name: replaceable(name, kind="xdp"), replaceable=True),
    "both": Kind(_replaceable_tail_caller, tail_calls=True, in_sub=True, replaceable=True),
}
ATTACHED = {
    "tracer": Kind(lambda name, target: tracer(name, target=target), attaches="tracing"),
    "extension": Kind(lambda name, target: extension(name, target=target), tail_calls=True, attaches="ext"),
    "quiet": Kind(lambda name, target: extension(name, target=target, tail_calls=False), attaches="ext"),
}


class Made(NamedTuple):
    """A world: kinds by name, what each attached program is attached to, and what is in slot 0 of the one array."""

    kinds: dict[str, str]
    targets: dict[str, str]
    slot: str | None

    def programs(self) -> ProgramSet:
        found = [KINDS[kind].make(name) for name, kind in self.kinds.items() if kind in KINDS]  # type: ignore[operator]
        found += [
            ATTACHED[kind].make(name, self.targets[name])  # type: ignore[operator]
            for name, kind in self.kinds.items()
            if kind in ATTACHED
        ]
        return made(*found, maps=(array({} if self.slot is None else {0: self.slot}),))

    def kind(self, name: str) -> Kind:
        return {**KINDS, **ATTACHED}[self.kinds[name]]

    def chain_from(self, name: str) -> list[str]:
        """The programs that a tail call of a program leads to, in their order: all tail-call the one slot."""
        found: list[str] = []
        at = name
        while self.kind(at).tail_calls and self.slot is not None and self.slot not in found:
            found.append(self.slot)
            at = self.slot
        return found


def in_a_doubling_loop(world: Made, name: str) -> bool:
    """A program that tail-calls twice in one run and leads into a loop: it, and what is on its way."""
    loops = world.slot is not None and world.kind(world.slot).tail_calls
    return loops and any(
        world.kind(other).twice and (name == other or name in world.chain_from(other)) for other in world.kinds
    )


def in_a_loop_of_a_subprogram(world: Made, name: str) -> bool:
    """A program whose `sub` tail-calls and leads into a loop: it, and what is on its way."""
    loops = world.slot is not None and world.kind(world.slot).tail_calls
    return loops and any(
        world.kind(other).in_sub and (name == other or name in world.chain_from(other)) for other in world.kinds
    )


def takes_part(world: Made, name: str, start: str, end: str) -> bool:
    """One of the two ends, or what is on the way of tail calls from the first to the second."""
    return name in (start, end) or (name in world.chain_from(start) and end in world.chain_from(name))


def in_a_traced_loop(world: Made, name: str) -> bool:
    """A program whose `sub` tail-calls back and is traced: it, its tracer, and what is on the way."""
    return any(
        world.kind(target).in_sub
        and target in world.chain_from(target)
        and (name == tracing or takes_part(world, name, target, target))
        for tracing, target in world.targets.items()
        if world.kinds[tracing] == "tracer"
    )


def in_an_extension_loop(world: Made, name: str) -> bool:
    """A program whose `sub` is replaced by what tail-calls it: it, its extension, and what is on the way."""
    return any(
        world.kind(target).replaceable
        and target in world.chain_from(replacing)
        and takes_part(world, name, replacing, target)
        for replacing, target in world.targets.items()
        if world.kinds[replacing] == "extension"
    )


ORACLES = {
    "sibling-tail-calls-in-a-loop": in_a_doubling_loop,
    "subprogram-in-a-tail-call-loop": in_a_loop_of_a_subprogram,
    "traced-subprogram-in-a-tail-call-loop": in_a_traced_loop,
    "extension-that-tail-calls-its-target": in_an_extension_loop,
}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Made, Made]:
    """A world, and one that others have completed: with programs, attachments and a slot that is filled."""
    mains = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4))
    kinds = {f"main{number}": kind for number, kind in enumerate(mains)}
    attached = draw(st.lists(st.tuples(st.sampled_from(sorted(ATTACHED)), st.sampled_from(sorted(kinds))), max_size=3))
    targets = {}
    for number, (kind, target) in enumerate(attached):
        name = f"attached{number}"
        kinds[name] = kind
        targets[name] = target
    slot = draw(st.none() | st.sampled_from(sorted(name for name in kinds if name.startswith("main"))))
    whole = Made(kinds, targets, slot)
    kept = draw(st.sets(st.sampled_from(sorted(kinds)), min_size=1))
    kept |= {targets[name] for name in kept if name in targets}
    own_slot = slot if slot in kept and draw(st.booleans()) else None
    own = Made(
        {name: kind for name, kind in kinds.items() if name in kept},
        {name: target for name, target in targets.items() if name in kept},
        own_slot,
    )
    return own, whole


def _states(world: Made, fact: str, *, closed: bool) -> Iterator[tuple[str, State]]:
    made_world = World([world.programs()], closed)
    for member in made_world.members:
        yield member.program.key, facts()[fact](made_world, member).state


@settings(max_examples=150, deadline=None)
@given(worlds(), st.sampled_from(sorted(ORACLES)))
def test_what_others_complete_was_possible(pair: tuple[Made, Made], fact: str) -> None:
    own, whole = pair
    for name, state in _states(own, fact, closed=False):
        if ORACLES[fact](whole, name):
            assert state is not State.NOT_MET, (name, own, whole)


@settings(max_examples=150, deadline=None)
@given(worlds(), st.sampled_from(sorted(ORACLES)))
def test_a_closed_world_is_what_the_oracle_says(pair: tuple[Made, Made], fact: str) -> None:
    _, whole = pair
    for name, state in _states(whole, fact, closed=True):
        assert state is (State.MET if ORACLES[fact](whole, name) else State.NOT_MET), (name, whole)


@settings(max_examples=200, deadline=None)
@given(worlds())
def test_no_fact_goes_from_not_met_to_met_by_what_others_add(pair: tuple[Made, Made]) -> None:
    own, whole = pair
    for fact in facts():
        before = dict(_states(own, fact, closed=False))
        after = dict(_states(whole, fact, closed=True))
        assert [name for name, state in before.items() if state is State.NOT_MET and after[name] is State.MET] == [], (
            fact
        )
