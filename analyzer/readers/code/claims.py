"""What a signature of code may claim: the places that a commit changes, what was seen of each, and what they prove
together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.binary import Function

__all__ = ["Claim", "Finding", "Place", "PlaceState", "Shown", "taken_together"]


class Claim(Enum):
    """What the code proves of a commit. SIMILAR: what was read agrees with the commit, and other places of it were not
    read, or not followed to their end: it proves nothing. DOUBTFUL: a place is there and does not do what the commit
    made it for, or not all of it.
    """

    PRESENT = "present"
    ABSENT = "absent"
    SIMILAR = "similar"
    DOUBTFUL = "doubtful"


class Finding(NamedTuple):
    """What the code shows of a commit, in the function where it was seen, and in which words."""

    commit: str
    claim: Claim
    function: Function
    detail: str


class Shown(NamedTuple):
    """What a matcher shows: the effect by its name, which a commit of the catalogue has under `code`, and the rest of a
    finding.
    """

    effect: str
    claim: Claim
    function: Function
    detail: str


class PlaceState(Enum):
    """What was seen of one of the places that a commit changes."""

    THERE = "there"
    LACKING = "lacking"
    ODD = "odd"
    UNSEEN = "unseen"


class Place(NamedTuple):
    """One of the places that a commit changes: what was seen of it, where, and in which words."""

    state: PlaceState
    function: Function
    detail: str


def taken_together(effect: str, places: Iterable[Place]) -> Iterator[Shown]:
    """Yields what all places of a commit show of its effect: half a fix is not a fix, and a place that was not seen
    proves nothing.
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
