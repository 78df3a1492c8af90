"""Commit messages, apart from the histories they stand in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.readers.messages import (
    find_reverts,
    find_trailers,
    has_conflicts,
    normalize_subject,
    says_revert,
    unwrap_revert,
)

ID = "d6083f040d5d8f8d748462c77e90547097df936e"


@given(st.binary(max_size=600))
def test_garbage_never_raises(message: bytes) -> None:
    for trailer in find_trailers(message):
        assert trailer.id.encode() in message.lower()
    for revert in find_reverts(message):
        assert revert.id.encode() in message.lower()
    if has_conflicts(message):
        assert b"conflict" in message.lower()


@given(st.text(max_size=80), st.integers(0, 5))
def test_reverts_unwrap_to_what_was_wrapped(subject: str, depth: int) -> None:
    wrapped = subject
    for _ in range(depth):
        wrapped = f'Revert "{wrapped}"'
    inner, found = unwrap_revert(wrapped)
    assert found >= depth
    if not subject.startswith(("Revert", "Reapply")):
        assert (inner, found) == (subject, depth)


def test_reapply_is_a_revert_of_a_revert() -> None:
    assert unwrap_revert('Reapply "bpf: x"') == ("bpf: x", 2)


@given(
    st.lists(st.sampled_from("0123456789abcdef"), min_size=12, max_size=40).map("".join),
    st.text(alphabet="ab \n", max_size=40),
)
def test_no_trailer_is_lost(name: str, body: str) -> None:
    message = f"subject\n\n[ Upstream commit {name} ]\n\n{body}".encode()
    assert [item.id for item in find_trailers(message)][:1] == [name]


def test_a_trailer_far_down_counts_only_as_cherry_pick() -> None:
    filler = "".join(f"line {number}\n" for number in range(40))
    assert find_trailers(f"s\n\n{filler}\ncommit {ID} upstream.\n".encode()) == []
    assert [item.id for item in find_trailers(f"s\n\n{filler}\n(cherry picked from commit {ID})\n".encode())] == [ID]


@pytest.mark.parametrize(
    ("one", "other"),
    [("bpf:  x  y", "bpf: x y"), ("UPSTREAM: bpf: x", "bpf: x"), ("BACKPORT: bpf: x", "bpf: x"), ("bpf: x.", "bpf: x")],
)
def test_subjects_are_equal_after_normalising(one: str, other: str) -> None:
    assert normalize_subject(one) == normalize_subject(other)


@pytest.mark.parametrize("subject", ["bpf: x (part 2)", "selftests/bpf: x", "UBUNTU: SAUCE: bpf: x", "bpf: X"])
def test_subjects_that_differ_stay_different(subject: str) -> None:
    assert normalize_subject(subject) != normalize_subject("bpf: x")


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ('Revert "bpf: x"', True),
        ("bpf: undo the check of x", True),
        ("x86: back out the rework", True),
        ("ANDROID: drop the patch", True),
        ("bpf: Fix tailcall infinite loop", False),
        ("bpf: irreversible", False),
    ],
)
def test_a_word_for_taking_something_back_is_found(subject: str, expected: bool) -> None:
    assert says_revert(subject) is expected
