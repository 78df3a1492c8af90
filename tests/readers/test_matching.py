"""A batch of commits is searched as a whole; what that finds is what a look at each commit finds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import Batch, Record
from tailcall_audit.analyzer.readers.matching import Matcher
from tests.repositories import FIX_6, FIX_6_SUBJECT

_MATCHER = Matcher(load_catalog(), "6.6")
_SUBJECTS = st.sampled_from(
    [
        FIX_6_SUBJECT,
        f"[{FIX_6_SUBJECT}]",
        f"UPSTREAM: {FIX_6_SUBJECT}",
        f"{FIX_6_SUBJECT}.",
        f" {FIX_6_SUBJECT}",
        FIX_6_SUBJECT.replace(" ", "  "),
        FIX_6_SUBJECT.replace(" ", "\t"),
        f'Revert "{FIX_6_SUBJECT}"',
        f"net: quote {FIX_6_SUBJECT} and more",
        "net: a fix that matters to another part",
        "Linux 6.6.50",
        "",
    ]
)
_LINES = st.sampled_from(
    [
        f"[ Upstream commit {FIX_6} ]",
        f"commit {FIX_6} upstream.",
        f"commit: \t {FIX_6[:12]}",
        f"ommit{FIX_6}",
        f"This reverts commit {FIX_6}.",
        "[ Upstream commit 0123456789abcdef0123456789abcdef01234567 ]",
        "Reverts ",
        "A line of the message.",
        "",
    ]
)
_NAMES = st.one_of(st.just(FIX_6), st.integers(0, 2**160 - 1).map("{:040x}".format))


@st.composite
def _batches(draw: st.DrawFn) -> Batch:
    count = draw(st.integers(0, 8))
    messages = ["\n".join([draw(_SUBJECTS), "", *draw(st.lists(_LINES, max_size=3))]) for _ in range(count)]
    names = [draw(_NAMES).encode() for _ in range(count)]
    return Batch(names, [b""] * count, [message.encode() for message in messages])


@settings(max_examples=400, deadline=None)
@given(batch=_batches())
def test_a_batch_has_the_commits_that_matter_one_by_one(batch: Batch) -> None:
    expected = [place for place, record in enumerate(batch.records()) if _MATCHER.may_matter(record)]
    assert _MATCHER.places(batch) == expected


@settings(max_examples=200, deadline=None)
@given(batch=_batches())
def test_nothing_that_reading_finds_is_ruled_out(batch: Batch) -> None:
    found = [place for place, record in enumerate(batch.records()) if _MATCHER.read(record) != ([], None)]
    # A line that begins with other white space than a subject may have is folded by the reader, too.
    assert set(found) <= set(_MATCHER.places(batch))


@pytest.mark.parametrize(
    ("subject", "matters"),
    [
        (FIX_6_SUBJECT, True),
        (f"UPSTREAM: {FIX_6_SUBJECT}", True),
        (f"BACKPORT: {FIX_6_SUBJECT}", True),
        (f"[BACKPORT] {FIX_6_SUBJECT}", True),
        (f"{FIX_6_SUBJECT}.", True),
        (f"{FIX_6_SUBJECT} (git-fixes)", True),
        (FIX_6_SUBJECT.replace(" ", "  "), True),
        (FIX_6_SUBJECT.replace(" ", "\t"), True),
        (f'Revert "{FIX_6_SUBJECT}"', True),
        ('Revert "net: something else"', True),  # its subject may be that of a commit with another one here
        ("net: something else", False),
        ("UPSTREAM: net: something else", False),
        ("net:  something else", False),
    ],
)
def test_which_subjects_are_looked_at(subject: str, matters: bool) -> None:
    assert _MATCHER.may_matter(Record(b"1" * 40, b"", f"{subject}\n\nx\n".encode())) is matters
