"""Orders picks: a commit comes after those that it needs and before those that mend it; otherwise mainline's order
holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.plan.choose import Pick

__all__ = ["dependencies", "in_order"]

_Key = tuple[tuple[int, int, int, int], int, str]


def dependencies(catalog: Catalog, picks: Mapping[str, Pick]) -> dict[str, frozenset[str]]:
    """Returns the picks that each pick comes after: what it needs, what it mends, and what makes the defects reachable
    that it fixes.
    """
    found = {}
    for key, pick in picks.items():
        before = {entry.commit for entry in catalog.commits[key].needs}
        before |= {other for other in picks if any(entry.commit == key for entry in catalog.commits[other].follow_ups)}
        for slug in pick.defects:
            before |= {name for defect in catalog.find(slug) for name in leaves(defect.reachable)}
        found[key] = frozenset(before & picks.keys()) - {key}
    return found


def _mainline_order(commit: Commit, times: Mapping[str, int]) -> _Key:
    """Returns the sort key: the release, then the time of mainline's commit if it is here, else the day on which it was
    posted.
    """
    posted = 0
    if commit.first_posted is not None:
        posted = int(datetime.fromisoformat(commit.first_posted.day).replace(tzinfo=UTC).timestamp())
    return commit.first_release.key, times.get(commit.key, posted), commit.key


def in_order(catalog: Catalog, picks: Mapping[str, Pick], times: Mapping[str, int]) -> list[str]:
    """Returns the keys of the picks in the order to apply them. `times` are those of mainline's commits in seconds, by
    key.
    """
    waiting = sorted(picks, key=lambda key: _mainline_order(catalog.commits[key], times))
    before = dependencies(catalog, picks)
    placed: list[str] = []
    while waiting:
        # A circle, which the catalogue's linter refuses, is broken at the commit that is first in mainline.
        chosen = next((key for key in waiting if before[key] <= set(placed)), waiting[0])
        waiting.remove(chosen)
        placed.append(chosen)
    return placed
