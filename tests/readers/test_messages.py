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
    reverts_merge,
    says_revert,
    unwrap,
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


@pytest.mark.parametrize(
    "written",
    [
        "bpf: x (git-fixes bsc#1229482).",
        "bpf: x (bsc#1229482)",
        "bpf: x (LP: #2076435)",
        "bpf: x (#12)",
        "bpf: x (CVE-2024-47794).",
        "bpf: x (bsc#1 jsc#PED-2) (git-fixes)",
        "bpf: x. (#12)",
        "UPSTREAM: BACKPORT: bpf: x (#12).",
        "  bpf:\tx ",
    ],
)
def test_what_a_vendor_writes_around_a_subject_is_left_out(written: str) -> None:
    assert normalize_subject(written) == "bpf: x"


@pytest.mark.parametrize("written", ["bpf: x (again)", "bpf: x (#12) y", "bpf: x #12", "bpf: f(git-fixes)x"])
def test_what_only_looks_like_a_reference_stays(written: str) -> None:
    assert normalize_subject(written) == written


@pytest.mark.parametrize(
    ("subject", "depth", "partial"),
    [
        ('Revert "bpf: x"', 1, False),
        ('ANDROID: Revert "bpf: x"', 1, False),
        ('UBUNTU: SAUCE: Revert "bpf: x" (LP: #1)', 1, False),
        ('[ALPS01] Revert "bpf: x"', 1, False),
        ('Revert^2 "bpf: x"', 2, False),
        ('Revert^3 "bpf: x"', 3, False),
        ('Reland "bpf: x"', 2, False),
        ('Revert "Reapply "bpf: x""', 3, False),
        ('Partially revert "bpf: x"', 1, True),
        ('partly reverts "bpf: x"', 1, True),
        ('Revert part of "bpf: x"', 1, True),
        ('Revert "Partially revert "bpf: x""', 2, True),
        ("Revert \u201cbpf: x\u201d", 1, False),
        ("Revert 'bpf: x'", 1, False),
    ],
)
def test_reverts_in_vendors_words(subject: str, depth: int, partial: bool) -> None:
    found = unwrap(subject)
    assert (found.subject, found.depth, found.partial) == ("bpf: x", depth, partial)


@pytest.mark.parametrize("subject", ["bpf: x", "Revert bpf: x", 'bpf: x after Revert "y"', 'Revert "bpf'])
def test_what_names_no_subject_in_quotes_is_no_revert(subject: str) -> None:
    assert (unwrap(subject).subject, unwrap(subject).depth) == (subject, 0)


@pytest.mark.parametrize(
    ("line", "certain"),
    [
        (f"commit {ID} upstream.", True),
        (f"[ Upstream commit {ID} ]", True),
        (f"Upstream commit {ID}", True),
        (f"Upstream-commit: {ID}", True),
        (f"Git-commit: {ID}", True),
        (f"(cherry picked from commit {ID})", True),
        (f"commit {ID}", False),
        (f"from mainline\ncommit {ID}", True),
        (f"Bugzilla: https://bugzilla.example.org/1\ncommit {ID}\nAuthor: A\nDate: x", True),
        (f"commit {ID}\nAuthor: A", False),
        (f"Words before it.\ncommit {ID}\nAuthor: A\nDate: x", False),
    ],
)
def test_what_claims_to_be_an_upstream_commit(line: str, certain: bool) -> None:
    (found,) = find_trailers(f"s\n\n{line}\n\nSigned-off-by: A\n".encode())
    assert (found.id, found.certain) == (ID, certain)


@pytest.mark.parametrize(
    "line",
    [
        f"{ID} is the first bad commit\ncommit {ID}",
        f"This is like commit {ID} upstream.",
        f'Fixes: {ID} ("x")',
        f"see commit {ID}",
    ],
)
def test_what_only_mentions_a_commit_claims_nothing(line: str) -> None:
    assert find_trailers(f"s\n\n{line}\n".encode()) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"This reverts commit {ID}.", [(ID, False)]),
        (f"This partially reverts commit {ID}.", [(ID, True)]),
        (f"This partly reverts commit {ID}.", [(ID, True)]),
        (f"This reverts upstream commit {ID}.", [(ID, False)]),
        (f"Nothing reverts commit {ID}.", []),
    ],
)
def test_what_a_message_says_it_takes_back(line: str, found: list[tuple[str, bool]]) -> None:
    assert [(item.id, item.partial) for item in find_reverts(f"s\n\n{line}\n".encode())] == found


def test_a_reverted_merge_and_conflicts_are_found_in_the_body() -> None:
    assert reverts_merge(b"s\n\nThis reverts commit 1, reversing\nchanges made to 2.\n")
    assert not reverts_merge(b"s\n\nThis reverts commit 1.\n")
    assert not reverts_merge(b"s\n\nreversing changes made to it\n")
    assert has_conflicts(b"s\n\nConflicts:\n\tx.c\n")
    assert not has_conflicts(b"net: resolve a conflict\n\nx\n")
