"""Walks a history once: by the git binary if there is one, else by libgit2.

git is faster: libgit2 up to 1.9.7 does not use a commit-graph with generation data version 2, which git writes by
default. The commits come in batches: a stable branch has tens of thousands, and work on whole lists of them is cheaper
than a call for each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import pygit2

from tailcall_audit.analyzer.kernelfiles.git_output import WalkError, git_columns, git_command, git_groups
from tailcall_audit.analyzer.kernelfiles.loose_objects import BrokenObjectError, LooseObjects, common_directory
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.paths import Kind, kind_of
from tailcall_audit.probes.reading import read_file

__all__ = [
    "Batch",
    "Record",
    "WalkError",
    "commits_of_paths",
    "first_parent_subjects",
    "shallow_commits",
    "walk",
    "walk_batches",
    "walk_ids",
]

_MAX_SHALLOW = 256 << 20
"""The largest file that `check_git_directories` accepts. If the file were not read, a shallow clone would look
complete.
"""


_BATCH = 1024
"""The most commits in a batch of libgit2's."""


class Record(NamedTuple):
    """One commit of a walk, as bytes: its id, those of its parents with blanks between them, its message.

    A boundary is not part of the range: it is the parent of one that is.
    """

    id: bytes
    parents: bytes
    message: bytes
    boundary: bool = False


class Batch(NamedTuple):
    """Commits of a walk in its order: three lists of equal length with what a `Record` has. `boundaries` are ids."""

    ids: list[bytes]
    parents: list[bytes]
    messages: list[bytes]
    boundaries: tuple[bytes, ...] = ()

    def record(self, place: int) -> Record:
        """Returns one of the commits."""
        return Record(self.ids[place], self.parents[place], self.messages[place])

    def first(self, count: int) -> Batch:
        """Returns the first `count` commits, without boundaries."""
        return Batch(self.ids[:count], self.parents[:count], self.messages[:count])

    def records(self) -> Iterator[Record]:
        """Yields the commits, and then the boundaries."""
        yield from map(Record, self.ids, self.parents, self.messages)
        for name in self.boundaries:
            yield Record(name, b"", b"", boundary=True)


def shallow_commits(repository: pygit2.Repository) -> frozenset[str]:
    """Returns the commits at which a shallow clone was cut: their parents are not in it."""
    shallow = common_directory(repository) / "shallow"
    try:
        return frozenset(read_file(shallow, _MAX_SHALLOW).decode("ascii", "replace").split())
    except (OSError, ValueError):
        return frozenset()


def _check_for_libgit2(repository: pygit2.Repository) -> None:
    """Raises WalkError if the repository has what libgit2 must not read: grafts, or loose objects that are cut off."""
    grafts = common_directory(repository) / "info/grafts"
    if kind_of(grafts) is not Kind.MISSING:
        raise WalkError(f"{grafts} rewrites the history for libgit2: remove it, or install git")
    try:
        LooseObjects(repository).check_all()
    except BrokenObjectError as error:
        raise WalkError(str(error)) from error


def _list_command(repository: pygit2.Repository, limit: int, *arguments: str) -> list[str] | None:
    # %B between NULs: a message cannot contain one, because git ends it there. The line "commit [-]ID" comes before each record.
    return git_command(repository, "rev-list", f"--max-count={limit}", "--format=%x00%P%x00%B%x00", *arguments, "--")


def _names(headers: list[bytes]) -> list[bytes]:
    """Returns the ids in git's lines "commit ID", with a minus before those of boundaries."""
    # Each but git's first line has the line break of the record before it.
    return [header.strip()[7:] for header in headers[:1]] + [header[8:-1] for header in headers[1:]]


def _batches(command: list[str], with_boundaries: bool = False) -> Generator[Batch, None, None]:
    for headers, parents, messages in git_columns(command, 3):
        names = _names(headers)
        if not with_boundaries or b"-" not in {name[:1] for name in names}:
            yield Batch(names, parents, messages)
            continue
        inside = [place for place, name in enumerate(names) if name[:1] != b"-"]
        yield Batch(
            [names[place] for place in inside],
            [parents[place] for place in inside],
            [messages[place] for place in inside],
            tuple(name[1:] for name in names if name[:1] == b"-"),
        )


def _walk_by_git(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Batch] | None:
    command = _list_command(repository, limit, head)
    if command is None or base is None:
        return None if command is None else _batches(command)
    return _walk_to_base(repository, head, base, limit)


def _until(repository: pygit2.Repository, base: str) -> list[str]:
    """Returns the option that ends a chain at a commit older than the base; none if the base cannot be read."""
    try:
        LooseObjects(repository).check(base)
        with pygit2_errors(WalkError):
            return [f"--max-age={repository[base].peel(pygit2.Commit).commit_time}"]
    except (BrokenObjectError, WalkError):
        return []


def _walk_to_base(repository: pygit2.Repository, head: str, base: str, limit: int) -> Iterator[Batch]:
    """Walks a stable branch as a chain of commits, down to the base. From the first merge on, or from a commit that is
    dated before the base, git sorts the commits that are not in the base.

    git prints a chain while it reads it. With a base to leave out, it reads the whole range before it prints the first
    commit. The date only keeps git from reading on below the base.
    """
    command = _list_command(repository, limit, *_until(repository, base), head)
    assert command is not None  # the caller found git
    count = 0
    end = base.encode()
    below = head.encode()
    with contextlib.closing(_batches(command)) as chain:
        for batch in chain:
            merge = len(batch.ids)
            if b" " in b"".join(batch.parents):
                merge = next(place for place, parents in enumerate(batch.parents) if b" " in parents)
            with contextlib.suppress(ValueError):
                last = batch.parents.index(end, 0, merge)
                yield batch.first(last + 1)._replace(boundaries=(end,))
                return
            count += merge
            if merge < len(batch.ids):
                below = batch.ids[merge]
                yield batch.first(merge)
                break
            if batch.ids:
                below = batch.parents[-1]
            yield batch
    if not below or count >= limit:
        return
    rest = _list_command(
        repository, limit - count, "--topo-order", "--boundary", below.decode("ascii", "replace"), f"^{base}"
    )
    assert rest is not None
    yield from _batches(rest, with_boundaries=True)


def _commits_by_libgit2(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Record]:
    _check_for_libgit2(repository)
    cut = shallow_commits(repository)
    with pygit2_errors(lambda words: WalkError(f"libgit2: {words}")):
        walker = repository.walk(head, pygit2.enums.SortMode.TOPOLOGICAL)
        if base is not None:
            walker.hide(base)
        for number, commit in enumerate(walker):
            if number >= limit:
                return
            name = str(commit.id)
            parents = [] if name in cut else [str(parent) for parent in commit.parent_ids]
            yield Record(name.encode(), " ".join(parents).encode(), commit.raw_message)


def _walk_by_libgit2(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Batch]:
    end = None if base is None else base.encode()
    waiting: list[Record] = []
    for record in _commits_by_libgit2(repository, head, base, limit):
        waiting.append(record)
        if len(waiting) == _BATCH:
            yield _as_batch(waiting, end)
            waiting = []
    if waiting:
        yield _as_batch(waiting, end)


def _as_batch(records: list[Record], base: bytes | None) -> Batch:
    found = Batch(
        [record.id for record in records],
        [record.parents for record in records],
        [record.message for record in records],
    )
    met = base is not None and any(base in parents.split() for parents in found.parents)
    return found._replace(boundaries=(base,)) if met and base is not None else found


def walk_batches(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Batch]:
    """Walks ``base..head`` once, children before parents, at most `limit` commits; raises WalkError if the walk breaks
    off; with git, the commits before that are yielded first.

    `base` is reported as a boundary if, and only if, it is an ancestor of `head`.
    """
    return _walk_by_git(repository, head, base, limit) or _walk_by_libgit2(repository, head, base, limit)


def walk(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Record]:
    """Yields the commits of `walk_batches` one by one."""
    for batch in walk_batches(repository, head, base, limit):
        yield from batch.records()


def walk_ids(repository: pygit2.Repository, head: str, limit: int) -> Iterator[Batch]:
    """Walks all ancestors of `head` once, children before parents, without their messages; raises WalkError if it
    breaks off.
    """
    command = git_command(
        repository, "rev-list", "--topo-order", f"--max-count={limit}", "--format=%x00%P%x00", head, "--"
    )
    if command is None:
        for batch in _walk_by_libgit2(repository, head, None, limit):
            yield batch._replace(messages=[b""] * len(batch.ids))
        return
    for headers, parents in git_columns(command, 2):
        names = _names(headers)
        yield Batch(names, parents, [b""] * len(names))


def first_parent_subjects(repository: pygit2.Repository, head: str, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yields id and subject along the first parents, newest first; ends where the history is cut."""
    command = git_command(
        repository, "rev-list", "--first-parent", f"--max-count={limit}", "--format=%x00%s%x00", head, "--"
    )
    if command is not None:
        for header, subject in git_groups(command, 2):
            yield _names([header])[0].decode("ascii", "replace"), subject
        return
    try:
        _check_for_libgit2(repository)
    except WalkError:
        return
    current: str | None = head
    for _ in range(limit):
        if current is None:
            return
        try:
            with pygit2_errors(WalkError):
                commit = repository[current].peel(pygit2.Commit)
        except WalkError:
            return
        yield current, commit.raw_message.lstrip().split(b"\n", 1)[0]
        parents = commit.parent_ids
        current = str(parents[0]) if parents else None


def commits_of_paths(
    repository: pygit2.Repository, head: str, base: str, paths: Sequence[str], limit: int
) -> Iterator[str]:
    """Yields the ids of the commits of ``base..head`` that change any of these paths, newest first, at most `limit`.

    Raises WalkError if the walk breaks off, and where there is no git binary: libgit2 has no such walk.
    """
    named = [f":(literal){path}" for path in paths]
    command = git_command(
        repository, "rev-list", f"--max-count={limit}", "--no-merges", "--format=%x00", head, f"^{base}", "--", *named
    )
    if command is None:
        raise WalkError("git is not installed")
    for (header,) in git_groups(command, 1):
        name = header.strip()
        if name.startswith(b"commit "):
            yield name[len(b"commit ") :].decode("ascii", "replace")
