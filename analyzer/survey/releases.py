"""Reads the releases from a clone's tags, and finds the earliest one that contains a commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pygit2

from tailcall_audit.analyzer.kernelfiles.git_tags import tags_of_commits
from tailcall_audit.analyzer.kernelfiles.git_walk import Batch
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = ["BranchTags", "Earliest", "read_tags", "stable_branches"]

_PREFIX = "refs/tags/v"
_MAX_TAGS = 20_000


class _TagError(ValueError):
    """Raised if a tag leads to no commit in this clone."""


class BranchTags(NamedTuple):
    """The tags of a stable branch in a clone: the commit of its base release (None: no such tag), and its releases with
    their commits, oldest first.
    """

    branch: str
    base: str | None
    releases: tuple[tuple[UpstreamVersion, str], ...]


def read_tags(repository: pygit2.Repository) -> dict[UpstreamVersion, str]:
    """Returns the commit of every tag that names a Linux release (``v6.1``, ``v6.1.170``, ``v6.13-rc3``)."""
    found: dict[UpstreamVersion, str] = {}
    names = [name for name in repository.references if name.startswith(_PREFIX)]
    known = tags_of_commits(repository, "v")
    for name in names[:_MAX_TAGS]:
        try:
            version = parse_version(name.removeprefix(_PREFIX))
            found[version] = known.get(name) or _peeled(repository, name)
        except ValueError:
            continue
    return found


def _peeled(repository: pygit2.Repository, name: str) -> str:
    """Returns the commit of a tag; raises _TagError."""
    with pygit2_errors(_TagError):
        return str(repository.references[name].peel(pygit2.Commit).id)


def stable_branches(tags: Mapping[UpstreamVersion, str]) -> tuple[BranchTags, ...]:
    """Returns the stable branches that have a release in the clone, oldest first."""
    by_branch: dict[str, list[UpstreamVersion]] = {}
    for version in sorted(tags):
        if version.rc is None and version.sublevel:
            by_branch.setdefault(version.branch, []).append(version)
    return tuple(
        BranchTags(branch, tags.get(versions[0].base), tuple((version, tags[version]) for version in versions))
        for branch, versions in by_branch.items()
    )


class Earliest:
    """Finds the earliest release that contains each commit. It follows a walk from the newest release that yields
    children before parents.
    """

    def __init__(self, releases: Mapping[str, UpstreamVersion], wanted: frozenset[str] | None = None) -> None:
        """`releases` maps commits to releases. `wanted` are the commits to answer for (None: all)."""
        self._releases = {name.encode(): version for name, version in releases.items()}
        self._wanted = None if wanted is None else frozenset(name.encode() for name in wanted)
        self._waiting: dict[bytes, UpstreamVersion] = {}
        self._found: dict[bytes, UpstreamVersion] = {}

    @property
    def by_commit(self) -> dict[str, UpstreamVersion]:
        """The answers, by commit."""
        return {name.decode("ascii", "replace"): release for name, release in self._found.items()}

    def of(self, commit: str) -> UpstreamVersion | None:
        """Returns the answer for one commit; None if no release contains it."""
        return self._found.get(commit.encode())

    def through(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yields the batches of a walk unchanged. Each commit's release is known once its batch is yielded."""
        for batch in batches:
            # A batch of nothing but boundaries, or above a merge that is the newest commit, has no commits.
            if batch.ids and not self._take_chain(batch.ids, batch.parents):
                self._take_each(batch.ids, batch.parents)
            yield batch

    def _take_chain(self, ids: list[bytes], parents: list[bytes]) -> bool:
        """Takes commits each of which is the only parent of the one before it, all at once. Takes none and returns False
        if they are no such chain, or if another line of the history leads into it.
        """
        if parents[:-1] != ids[1:] or not self._waiting.keys().isdisjoint(ids[1:]):
            return False
        release = self._waiting.pop(ids[0], None)
        start = 0
        for place in [place for place, name in enumerate(ids) if name in self._releases]:
            tagged = self._releases[ids[place]]
            if release is None or tagged < release:
                self._answer(ids[start:place], release)
                start, release = place, tagged
        self._answer(ids[start:], release)
        if release is not None:
            self._hand_on(parents[-1].split(), release)
        return True

    def _take_each(self, ids: list[bytes], parents: list[bytes]) -> None:
        for name, before in zip(ids, parents, strict=True):
            found = self._waiting.pop(name, None)
            tagged = self._releases.get(name)
            if tagged is not None and (found is None or tagged < found):
                found = tagged
            if found is not None:
                self._answer((name,), found)
                self._hand_on(before.split(), found)

    def _answer(self, names: Sequence[bytes], release: UpstreamVersion | None) -> None:
        if release is not None:
            kept = names if self._wanted is None else self._wanted.intersection(names)
            self._found.update(dict.fromkeys(kept, release))

    def _hand_on(self, parents: list[bytes], release: UpstreamVersion) -> None:
        for parent in parents:
            known = self._waiting.get(parent)
            if known is None or release < known:
                self._waiting[parent] = release
