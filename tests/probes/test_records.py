"""Named tuples that are made without collections."""

from __future__ import annotations

import copy
import pickle

import pytest

from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result


def test_a_record_is_a_tuple_with_names_and_defaults() -> None:
    result = Result(PRESENT, "seen", lacks="x")
    assert tuple(result) == (PRESENT, "seen", True, "x")
    assert (result.state, result.detail, result.conclusive, result.lacks) == tuple(result)
    assert result == Result(state=PRESENT, detail="seen", conclusive=True, lacks="x")
    assert hash(result) == hash(Result(PRESENT, "seen", True, "x"))
    assert result != Result(ABSENT, "seen", True, "x")
    assert Probe("slug", "loads", lambda _: result)[3:] == (None, (), None, (), 0)


def test_a_record_is_shown_replaced_copied_and_pickled() -> None:
    result = Result(PRESENT, "seen", False)
    assert repr(result) == "Result(state='present', detail='seen', conclusive=False, lacks='')"
    assert result._replace(detail="other") == Result(PRESENT, "other", False)
    assert result._asdict() == {"state": PRESENT, "detail": "seen", "conclusive": False, "lacks": ""}
    assert Result._fields == ("state", "detail", "conclusive", "lacks")
    for twin in (copy.copy(result), pickle.loads(pickle.dumps(result))):
        assert (type(twin), twin) == (Result, result)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((PRESENT,), {}),
        ((PRESENT, "seen", True, "", ""), {}),
        ((PRESENT, "seen"), {"state": ABSENT}),
        ((PRESENT, "seen"), {"other": 1}),
    ],
    ids=["too few", "too many", "twice", "unknown"],
)
def test_other_fields_are_refused(values: tuple[object, ...], named: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="Result: "):
        Result(*values, **named)  # type: ignore[arg-type]


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Result(PRESENT, "seen").state = ABSENT  # type: ignore[misc]
