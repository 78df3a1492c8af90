"""Derives the affected releases of a defect from its commits, so that no file has to repeat them.

A release is affected when everything that makes the defect reachable is surely in it and every fix is surely not. The
result ends before the first release that the survey cannot decide. It describes the architecture that had each
capability first.
"""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.expression import ABSENT, PRESENT, UNKNOWN, Interval, evaluate
from tailcall_audit.analyzer.catalog.types import CAPABILITY_PREFIX, AffectedRange, BranchRanges, Catalog, Defect
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = ["derive_ranges"]

MAINLINE = "mainline"


def derive_ranges(catalog: Catalog, defect: Defect) -> tuple[BranchRanges, ...]:
    """Returns the affected releases of mainline and of each stable branch that one of the defect's commits was surveyed
    on.
    """
    mainline = sorted(
        version for name in catalog.branches if (version := parse_version(name)) <= catalog.newest_mainline
    )
    found = [BranchRanges(MAINLINE, _spans(catalog, defect, mainline), str(catalog.newest_mainline))]
    for branch in sorted({name for key in defect.commits for name in catalog.commits[key].branches}, key=parse_version):
        points = sorted(set(_turning_points(catalog, defect, branch)))
        surveyed = None
        for index, point in enumerate(points):
            if _affected(catalog, defect, point) is None:
                surveyed = str(point._replace(sublevel=point.sublevel - 1)) if point.sublevel else None
                points = points[:index]
                break
        if points:
            found.append(BranchRanges(branch, _spans(catalog, defect, points), surveyed))
    return tuple(found)


def _turning_points(catalog: Catalog, defect: Defect, branch: str) -> Iterator[UpstreamVersion]:
    """Yields the first release of each stretch of a branch over which the survey gives the same answer."""
    base = parse_version(branch)
    yield base  # a mainline release, of which more is known than of the first update
    yield base._replace(sublevel=1)
    for key in defect.commits:
        fact = catalog.commits[key].branches.get(branch)
        if fact is not None:
            start = fact.release or fact.present_by
            if start is not None:
                yield start
            if fact.surveyed_through is not None:
                yield fact.surveyed_through._replace(sublevel=fact.surveyed_through.sublevel + 1)
    last = catalog.branches[branch].last if branch in catalog.branches else None
    if last is not None:
        yield last


def _spans(catalog: Catalog, defect: Defect, points: list[UpstreamVersion]) -> tuple[AffectedRange, ...]:
    """Joins neighbouring affected points; a span that is not followed by a release without the defect stays open."""
    spans: list[AffectedRange] = []
    start: UpstreamVersion | None = None
    for point in points:
        affected = _affected(catalog, defect, point)
        if affected and start is None:
            start = point
        elif not affected and start is not None:
            spans.append(AffectedRange(str(start), str(point) if affected is False else None))
            start = None
    if start is not None:
        spans.append(AffectedRange(str(start), None))
    return tuple(spans)


def _affected(catalog: Catalog, defect: Defect, version: UpstreamVersion) -> bool | None:
    """Returns True if a release has the defect; None when the survey does not decide."""

    def value(name: str) -> Interval:
        if name.startswith(CAPABILITY_PREFIX):
            starts = catalog.capabilities[name].present_from
            usable = [starts[key] for key in defect.architectures or starts if key in starts]
            return PRESENT if usable and min(usable) <= version.base else ABSENT
        return _in_release(catalog, catalog.commits[name], version)

    reachable = evaluate(defect.reachable, value)
    fixed = ABSENT if defect.fixed is None else evaluate(defect.fixed, value)
    if reachable.excluded or fixed.met:
        return False
    return True if reachable.met and fixed.excluded else None


def _in_release(catalog: Catalog, commit: Commit, version: UpstreamVersion) -> Interval:
    """Returns an upstream release's answer for a commit: surely there, surely not, or open. The readers of a release
    decide in the same way (a test compares them).
    """
    if commit.only_on_branch is None:
        if commit.first_release <= version.base:
            return PRESENT
        if version.sublevel == 0:
            return ABSENT
    fact = commit.branches.get(version.branch)
    if fact is not None:
        start = fact.release or fact.present_by
        if start is not None and version >= start:
            return PRESENT
        if fact.release is not None:
            return ABSENT
        return ABSENT if fact.surveyed_through is not None and version <= fact.surveyed_through else UNKNOWN
    if commit.only_on_branch is not None or commit.is_feature:
        return ABSENT
    return ABSENT if catalog.ended_before(version.branch, commit) else UNKNOWN
