"""The places in the code that a commit changes, the state that was seen of each, and the claim that they make together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.binary import Function

__all__ = ["Claim", "Finding", "Place", "PlaceState", "Shown", "rest_of_emitter", "taken_together"]


class Claim(Enum):
    """What the code proves of a commit.

    SIMILAR: the places that were read have the commit, but others were not read or not followed to their end; this
    proves nothing. DOUBTFUL: a place exists, but does not do everything that the commit added it for.
    """

    PRESENT = "present"
    ABSENT = "absent"
    SIMILAR = "similar"
    DOUBTFUL = "doubtful"


class Finding(NamedTuple):
    """A claim about a commit, the function that shows it, and a description."""

    commit: str
    claim: Claim
    function: Function
    detail: str


class Shown(NamedTuple):
    """A claim of a matcher: the name of the effect (commits of the catalogue name it under `code`), the function, and a
    description.
    """

    effect: str
    claim: Claim
    function: Function
    detail: str


class PlaceState(Enum):
    """The state of one of the places that a commit changes."""

    THERE = "there"
    LACKING = "lacking"
    ODD = "odd"
    UNSEEN = "unseen"


class Place(NamedTuple):
    """One of the places that a commit changes: its state, the function, and a description."""

    state: PlaceState
    function: Function
    detail: str


def rest_of_emitter(function: Function) -> Place:
    """Returns the place that stands for the rest of a function that emits machine code. It is never seen.

    Hundreds of branches of such a function decide which bytes are emitted, and shapes follow none of them to the
    emitted code. Mutants with one such branch changed showed the defect in a guest while every shape of the fix was
    there. So shapes in such a function can show that a fix is missing, and never that it works.
    """
    return Place(PlaceState.UNSEEN, function, f"what else {function.name}() emits")


def taken_together(effect: str, places: Iterable[Place]) -> Iterator[Shown]:
    """Yields the claim that all places of a commit make together. One place without the change proves that the fix is
    not whole; a place that was not seen leaves it open.
    """
    known = tuple(places)
    for state, claim in (
        (PlaceState.LACKING, Claim.ABSENT),
        (PlaceState.ODD, Claim.DOUBTFUL),
    ):
        if found := [place for place in known if place.state is state]:
            yield Shown(effect, claim, found[0].function, "; ".join(place.detail for place in found))
            return
    there = [place for place in known if place.state is PlaceState.THERE]
    if there:
        claim = Claim.PRESENT if len(there) == len(known) else Claim.SIMILAR
        missing = "".join(f"; not seen: {place.detail}" for place in known if place.state is PlaceState.UNSEEN)
        yield Shown(effect, claim, there[0].function, "; ".join(place.detail for place in there) + missing)
