"""Tests of the walk of a history: each commit of the range once, children before parents, as git itself lists them."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles import git_output
from tailcall_audit.analyzer.kernelfiles.git_walk import WalkError, walk
from tests.repositories import git

_AUTHOR = pygit2.Signature("A", "a@example.org", 1_600_000_000, 0)


def _history(folder: Path, parents: list[list[int]]) -> tuple[pygit2.Repository, list[str]]:
    """Makes a commit for each list of the numbers of earlier ones; returns their ids."""
    repository = pygit2.init_repository(str(folder), bare=True)
    tree = repository.TreeBuilder().write()
    names: list[str] = []
    for number, before in enumerate(parents):
        parent_ids = [pygit2.Oid(hex=names[index]) for index in before]
        made = repository.create_commit(None, _AUTHOR, _AUTHOR, f"commit {number}\n", tree, parent_ids)
        names.append(str(made))
    return repository, names


def _expected(repository: pygit2.Repository, head: str, base: str) -> set[str]:
    return set(git("-C", repository.path, "rev-list", head, f"^{base}").split())


@st.composite
def _shapes(draw: st.DrawFn) -> list[list[int]]:
    """Histories of up to 14 commits: chains with merges, and roots of their own."""
    shape: list[list[int]] = [[]]
    for number in range(1, draw(st.integers(2, 14))):
        before = draw(st.lists(st.integers(0, number - 1), max_size=2, unique=True))
        shape.append(before or ([number - 1] if draw(st.booleans()) else []))
    return shape


@settings(max_examples=40, deadline=None)
@given(shape=_shapes(), data=st.data())
def test_the_range_is_git_s(
    tmp_path_factory: pytest.TempPathFactory, shape: list[list[int]], data: st.DataObject
) -> None:
    repository, names = _history(tmp_path_factory.mktemp("walk"), shape)
    head, base = names[-1], names[data.draw(st.integers(0, len(names) - 2))]
    records = list(walk(repository, head, base, 1000))
    seen = [record.id.decode() for record in records if not record.boundary]
    assert len(seen) == len(set(seen))
    for place, record in enumerate(records):
        assert not {name.decode() for name in record.parents.split()} & set(seen[:place])
    met = any(record.boundary and record.id.decode() == base for record in records)
    is_ancestor = base in git("-C", repository.path, "rev-list", head).split()
    assert met == is_ancestor
    # Above the first merge a base beside the branch hides nothing: what is seen then are ancestors of the head all the same.
    expected = _expected(repository, head, base)
    assert set(seen) == expected if is_ancestor else expected <= set(seen)


def test_a_merge_below_a_chain_brings_both_its_sides(tmp_path: Path) -> None:
    repository, names = _history(tmp_path, [[], [0], [0], [1, 2], [3], [4]])
    seen = [record.id.decode() for record in walk(repository, names[5], names[0], 1000) if not record.boundary]
    assert seen[:3] == [names[5], names[4], names[3]]
    assert set(seen[3:]) == {names[1], names[2]}


def test_the_limit_counts_the_chain_and_what_is_below(tmp_path: Path) -> None:
    repository, names = _history(tmp_path, [[], [0], [0], [1, 2], [3], [4]])
    seen = [record for record in walk(repository, names[5], names[0], 4) if not record.boundary]
    assert len(seen) == 4


def test_without_git_the_same_commits_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, names = _history(tmp_path, [[], [0], [0], [1, 2], [3], [4]])
    by_git = {record.id for record in walk(repository, names[5], names[0], 1000) if not record.boundary}
    monkeypatch.setattr(git_output, "find_program", lambda _: None)
    assert {record.id for record in walk(repository, names[5], names[0], 1000) if not record.boundary} == by_git


def test_what_was_read_before_a_break_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository, names = _history(tmp_path, [[], [0], [1], [2]])
    broken = tmp_path / "objects" / names[1][:2] / names[1][2:]
    broken.chmod(0o600)
    broken.unlink()
    seen = []
    with pytest.raises(WalkError):
        for record in walk(repository, names[3], None, 1000):
            seen.append(record.id.decode())
    assert seen in (names[3:2:-1], names[3:1:-1])  # the last one before it may break with it
    monkeypatch.setattr(git_output, "find_program", lambda _: None)
    with pytest.raises(WalkError):  # libgit2 sorts the whole history first
        list(walk(repository, names[3], None, 1000))
