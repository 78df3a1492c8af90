"""Releases about which the readers of releases say the same, but for the names in it.

The kernels of a fleet differ in their names, and fewer of them in what is known of them: of 143 releases of 6.6.y, some
forty differ in a fact of the catalogue. `stand_in` gives a release whose evidence has marks in the places of
names, and a key that is equal for all releases with that evidence.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.load import default_catalog_path
from tailcall_audit.analyzer.catalog.memory import Memory
from tailcall_audit.analyzer.catalog.shipped import shipped_branches
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.readers.reach import reaches_of
from tailcall_audit.analyzer.readers.series import matching_facts
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["MARK", "StandIn", "place_about", "stand_in"]

MARK = "\0"
"""The first character of a mark. A mark is it and a digit, the place of the word in `StandIn.words`."""
_RELEASE, _VERSION, _SETTLE, _TEACH = (f"{MARK}{place}" for place in range(4))


class _Marked(UpstreamVersion):
    """A version that is written as its mark. It is compared as the version that it is."""

    __slots__ = ()

    def __str__(self) -> str:
        return _VERSION


class StandIn(NamedTuple):
    """A release in whose evidence marks stand for words; the words; and the key of all releases with that evidence."""

    key: object
    release: KernelRelease
    words: tuple[str, ...]


_TURNS: Memory[str, list[int]] = Memory(500)
_TURNS_OF_COMMITS: Memory[tuple[str, str], list[int]] = Memory(5000)


def stand_in(catalog: Catalog, release: KernelRelease) -> StandIn | None:
    """Returns what stands for a release; None if its evidence is its own."""
    if release.proof is Proof.NOTHING or release.snapshot or release.version.rc is not None:
        return None
    version, turns = release.version, _TURNS.of(catalog)
    if version.branch not in turns:
        turns[version.branch] = _sublevels(catalog, catalog.commits.values(), version.branch)
    marked = release._replace(
        version=_Marked(*version),
        shown=_RELEASE,
        settle=release.settle and _SETTLE,
        teach=release.teach and _TEACH,
    )
    key = (
        marked._replace(
            text="",
            # The packages of an ABI number are compared with the facts by the name of the release.
            release=release.release if release.builds else "",
            version=version.base,
            package=release.package and "",
            abi=None,
            flavour=None,
            notes=(),
            local=release.local and "",
        ),
        _place(turns[version.branch], version),
        matching_facts(catalog, release),
        reaches_of(catalog, release),
    )
    return StandIn(key, marked, (release.release, str(version), release.settle or "", release.teach or ""))


def place_about(catalog: Catalog, commit: Commit, version: UpstreamVersion) -> tuple[int, bool]:
    """Returns the same number for all releases of a branch, of which none is a candidate, of which the catalogue says
    the same about a commit.
    """
    turns = _TURNS_OF_COMMITS.of(catalog)
    key = (commit.key, version.branch)
    if key not in turns:
        turns[key] = _sublevels(catalog, (commit,), version.branch)
    return _place(turns[key], version)


def _place(turns: list[int], version: UpstreamVersion) -> tuple[int, bool]:
    """Returns the place of a version among the sublevels, and True if it is one of them."""
    place = bisect_left(turns, version.sublevel)
    return place, place < len(turns) and turns[place] == version.sublevel


def _sublevels(catalog: Catalog, commits: Iterable[Commit], branch: str) -> list[int]:
    """Returns the sublevels of a branch's releases that facts about commits name, and 0. An answer can only change at
    one of them.
    """
    about = catalog.branches.get(branch)
    found: list[object] = [] if about is None else list(about)
    shipped = shipped_branches() if catalog.path == default_catalog_path() else {}
    for commit in commits:
        found.append(commit.first_release)
        for fact in (commit.branches.get(branch), shipped.get(commit.key, {}).get(branch)):
            if fact is not None:
                found += [*fact, *(release for release, _ in fact.changes)]
    versions = (item for item in found if isinstance(item, UpstreamVersion))
    return sorted({0, *(item.sublevel for item in versions if item.branch == branch)})
