"""What the places of a commit claim together: one without the change proves that the fix is not whole."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.readers.code.claims import Claim, Place, PlaceState, rest_of_emitter, taken_together

FUNCTION = Function("do_jit", 0xFFFFFFFF81000000, b"\x90")
THERE, LACKING, ODD, UNSEEN = PlaceState.THERE, PlaceState.LACKING, PlaceState.ODD, PlaceState.UNSEEN


@pytest.mark.parametrize(
    ("states", "claim", "detail"),
    [
        ([THERE], Claim.PRESENT, "0"),
        ([THERE, THERE], Claim.PRESENT, "0; 1"),
        # A place that was not seen leaves it open.
        ([THERE, UNSEEN], Claim.SIMILAR, "0; not seen: 1"),
        ([THERE, LACKING, ODD, UNSEEN], Claim.ABSENT, "1"),
        ([LACKING, THERE, LACKING], Claim.ABSENT, "0; 2"),
        ([THERE, ODD, UNSEEN], Claim.DOUBTFUL, "1"),
        ([UNSEEN, ODD], Claim.DOUBTFUL, "1"),
    ],
)
def test_the_places_of_a_commit_make_one_claim(states: list[PlaceState], claim: Claim, detail: str) -> None:
    places = [Place(state, FUNCTION, str(number)) for number, state in enumerate(states)]
    (shown,) = taken_together("effect", places)
    assert (shown.effect, shown.claim, shown.function, shown.detail) == ("effect", claim, FUNCTION, detail)


@pytest.mark.parametrize("states", [[], [UNSEEN], [UNSEEN, UNSEEN]])
def test_places_that_were_not_seen_claim_nothing(states: list[PlaceState]) -> None:
    assert list(taken_together("effect", [Place(state, FUNCTION, "x") for state in states])) == []


def test_the_shape_of_an_emitter_never_proves_a_fix() -> None:
    (shown,) = taken_together("effect", [Place(THERE, FUNCTION, "it saves rax"), rest_of_emitter(FUNCTION)])
    assert shown.claim is Claim.SIMILAR
    assert shown.detail == "it saves rax; not seen: what else do_jit() emits"
