"""The earliest release that contains a commit, in histories of any shape, as git itself finds it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.git_walk import Batch
from tailcall_audit.analyzer.survey.releases import Earliest
from tailcall_audit.analyzer.version import UpstreamVersion


def _name(number: int) -> bytes:
    return b"%040x" % number


@st.composite
def _histories(draw: st.DrawFn) -> tuple[list[list[int]], dict[int, UpstreamVersion]]:
    """Parents by commit, all older (smaller); mostly chains, so that they are taken at once. Some are tagged."""
    parents: list[list[int]] = [[]]
    for number in range(1, draw(st.integers(1, 40))):
        if draw(st.integers(0, 4)):
            parents.append([number - 1])
        else:
            parents.append(draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)))
    tagged = draw(st.lists(st.integers(0, len(parents) - 1), max_size=6, unique=True))
    return parents, {commit: UpstreamVersion(6, 6, place + 1) for place, commit in enumerate(sorted(tagged))}


def _ancestors(parents: list[list[int]], commit: int) -> set[int]:
    found: set[int] = set()
    waiting = [commit]
    while waiting:
        here = waiting.pop()
        if here not in found:
            found.add(here)
            waiting += parents[here]
    return found


@settings(max_examples=300, deadline=None)
@given(history=_histories(), size=st.integers(1, 45), wanted=st.none() | st.sets(st.integers(0, 39)))
def test_each_commit_is_in_the_earliest_tag_that_contains_it(
    history: tuple[list[list[int]], dict[int, UpstreamVersion]], size: int, wanted: set[int] | None
) -> None:
    parents, tags = history
    order = list(reversed(range(len(parents))))
    batches = [
        Batch(
            [_name(number) for number in order[start : start + size]],
            [b" ".join(map(_name, parents[number])) for number in order[start : start + size]],
            [b""] * len(order[start : start + size]),
        )
        for start in range(0, len(order), size)
    ]
    names = {_name(commit).decode(): release for commit, release in tags.items()}
    earliest = Earliest(names, None if wanted is None else frozenset(_name(item).decode() for item in wanted))
    assert list(earliest.through(batches)) == batches
    expected = {}
    for number in range(len(parents)) if wanted is None else sorted(wanted & set(range(len(parents)))):
        having = [release for commit, release in tags.items() if number in _ancestors(parents, commit)]
        if having:
            expected[_name(number).decode()] = min(having)
    assert earliest.by_commit == expected


def test_a_batch_without_commits_changes_nothing() -> None:
    newest = Batch([_name(1)], [_name(0)], [b""])
    batches = [Batch([], [], []), newest, Batch([], [], [], (_name(0),))]
    earliest = Earliest({_name(1).decode(): UpstreamVersion(6, 6, 1)})
    assert list(earliest.through(batches)) == batches
    assert earliest.by_commit == {_name(1).decode(): UpstreamVersion(6, 6, 1)}
