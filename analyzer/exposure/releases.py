"""Finds the oldest release of each branch that has none of the defects that the programs meet. Uses the catalogue's
ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import BranchRanges, Catalog, Defect
from tailcall_audit.analyzer.exposure.types import Exposure, State
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = ["Oldest", "oldest_without_hit"]

_MAINLINE = "mainline"


class Oldest(NamedTuple):
    """A branch, its oldest release without a hit, and its oldest release without even a possible hit (None: none is
    known).

    `open` lists the defects that every known release of the branch still has; `unknown` those for which the catalogue
    cannot decide.
    """

    branch: str
    without_hit: str | None
    without_possible: str | None
    open: tuple[str, ...]
    unknown: tuple[str, ...]


def _is_affected(entry: BranchRanges, release: UpstreamVersion) -> bool | None:
    """Returns True if a release of a branch has the defect, None if the catalogue does not know."""
    for span in entry.affected:
        ended = span.fixed is not None and release >= parse_version(span.fixed)
        if release >= parse_version(span.start) and not ended:
            beyond = span.fixed is None and _is_beyond(entry, release)
            return None if beyond else True
    return None if _is_beyond(entry, release) else False


def _is_beyond(entry: BranchRanges, release: UpstreamVersion) -> bool:
    last = entry.surveyed_through
    return entry.branch != _MAINLINE and last is not None and release > parse_version(last)


def _state(defect: Defect, release: UpstreamVersion) -> bool | None:
    ranges = {entry.branch: entry for entry in defect.ranges}
    own = ranges.get(release.branch)
    if own is not None:
        return _is_affected(own, release)
    base = _is_affected(ranges[_MAINLINE], UpstreamVersion(release.major, release.minor))
    # Stable branches gain no features and keep the fixes of their base. If the base is affected, a later release may
    # have the fix.
    return base if base is not True or not release.sublevel else None


def _candidates(defects: Sequence[Defect], branch: str) -> list[UpstreamVersion]:
    found = {parse_version(branch)}
    for defect in defects:
        for entry in defect.ranges:
            if entry.branch == branch:
                found |= {parse_version(span.fixed) for span in entry.affected if span.fixed is not None}
    return sorted(item for item in found if item.branch == branch)


def _oldest(defects: Sequence[Defect], branch: str) -> str | None:
    for release in _candidates(defects, branch):
        if all(_state(defect, release) is False for defect in defects):
            return str(release)
    return None


def oldest_without_hit(
    catalog: Catalog, exposures: Sequence[Exposure], architecture: str | None = None
) -> Iterator[Oldest]:
    """Yields, for each branch, the oldest release that has none of the defects that the programs meet.

    `architecture` limits this to defects in its code or in code common to all. The ranges are those of the architecture
    that first had each capability.
    """
    states = {item.defect: item.state for item in exposures}
    relevant = [
        item
        for item in catalog.defects
        if item.ranges and (not item.architectures or architecture is None or architecture in item.architectures)
    ]
    met = [item for item in relevant if states.get(item.slug, State.NOT_MET) is State.MET]
    possible = [item for item in relevant if states.get(item.slug, State.NOT_MET) is not State.NOT_MET]
    for branch in sorted((name for name in catalog.branches if _is_shown(name)), key=parse_version):
        last = _candidates(met, branch)[-1]
        left = [(item.slug, _state(item, last)) for item in met]
        without = _oldest(met, branch)
        yield Oldest(
            branch,
            without,
            _oldest(possible, branch),
            () if without else tuple(slug for slug, state in left if state is True),
            () if without else tuple(slug for slug, state in left if state is None),
        )


def _is_shown(branch: str) -> bool:
    """Returns True for branches from 4.19 on: tail calls in older ones meet few defects, since programs had no
    subprograms.
    """
    return parse_version(branch) >= parse_version("4.19")
