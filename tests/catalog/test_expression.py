"""Expressions: Kconfig's arithmetic, and what is unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.catalog.expression import Expression, Interval, evaluate, leaves, parse_expression

VALUES = {"y": Interval(2, 2), "m": Interval(1, 1), "n": Interval(0, 0), "?": Interval(0, 2, 0)}


def value(data: object) -> tuple[int, int]:
    result = evaluate(parse_expression(data), lambda name: VALUES[name])
    return result.low, result.high


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"all": ["y", "m"]}, (1, 1)),  # Kconfig: y && m is m
        ({"any": ["n", "m"]}, (1, 1)),
        ({"not": "m"}, (1, 1)),  # !m is m
        ({"not": "y"}, (0, 0)),
        ({"all": ["?", "n"]}, (0, 0)),
        ({"any": ["?", "y"]}, (2, 2)),
        ({"all": ["?", "y"]}, (0, 2)),
        ({"any": [{"not": "?"}, "n"]}, (0, 2)),
    ],
)
def test_kconfig_arithmetic(data: object, expected: tuple[int, int]) -> None:
    assert value(data) == expected


EXPRESSIONS = st.recursive(
    st.sampled_from("ymn?"),
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda parts: st.sampled_from([{"all": parts}, {"any": parts}, {"not": parts[0]}])
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
def test_an_interval_holds_the_value_whatever_the_unknowns_are(data: object) -> None:
    expression = parse_expression(data)
    low, high = value(data)
    for guess in (0, 1, 2):
        exact = evaluate(expression, lambda name, guess=guess: Interval(guess, guess) if name == "?" else VALUES[name])  # type: ignore[misc]
        assert low <= exact.low == exact.high <= high


@given(EXPRESSIONS)
def test_the_text_names_every_leaf(data: object) -> None:
    expression = parse_expression(data)
    assert isinstance(expression, Expression)
    assert all(name in str(expression) for name in leaves(expression))


@pytest.mark.parametrize(
    "data", [None, 1, [], {}, {"all": []}, {"all": "y"}, {"xor": ["y"]}, {"all": ["y"], "any": ["n"]}]
)
def test_other_shapes_are_refused(data: object) -> None:
    with pytest.raises(ValueError, match="not an expression"):
        parse_expression(data)


def test_confidence_is_that_of_what_decided() -> None:
    values = {"sure": Interval(2, 2, 3), "weak": Interval(2, 2, 1), "gone": Interval(0, 0, 2)}
    assert evaluate(parse_expression({"any": ["weak", "sure"]}), values.__getitem__).confidence == 3
    assert evaluate(parse_expression({"all": ["weak", "sure"]}), values.__getitem__).confidence == 1
    assert evaluate(parse_expression({"all": ["weak", "gone"]}), values.__getitem__).confidence == 2
