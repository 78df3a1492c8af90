"""The events of a history about commits of the catalogue: applied, reverted and applied again, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tailcall_audit.analyzer.kernelfiles.git_walk import Batch, WalkError
from tailcall_audit.analyzer.readers.matching import Event, Matcher, PendingRevert

__all__ = ["Walked", "follow"]

_STEP = 4096
"""Commits between two reports of progress."""


@dataclass
class Walked:
    """What a walk has gathered so far, newest first.

    `base_met` says that the base is an ancestor, `cut` that the walk ended at the edge of a shallow clone or at its
    limit, and `broken` why it broke off.
    """

    matcher: Matcher
    found: list[tuple[list[Event], PendingRevert | None]] = field(default_factory=list)
    count: int = 0
    base_met: bool = False
    cut: bool = False
    broken: str | None = None

    def ordered(self) -> dict[str, list[Event]]:
        """Returns all events by the commit that they are about, oldest first, with the reverts resolved."""
        by_key: dict[str, list[Event]] = {}
        seen: dict[str, list[Event]] = {}
        for events, pending in reversed(self.found):
            found = list(events)
            if pending is not None:
                found += self.matcher.resolve(pending, seen)
            for event in found:
                by_key.setdefault(event.key, []).append(event)
                seen.setdefault(event.id[:12], []).append(event)
        return by_key


def follow(
    batches: Iterable[Batch],
    matcher: Matcher,
    base: str | None,
    cut: frozenset[str],
    progress: Callable[[int], None],
) -> Walked:
    """Returns what the commits of a walk give, up to its end or to where it breaks off; raises nothing.

    `base` is the commit whose boundary says that it is an ancestor, `cut` are the commits at which a clone was
    cut. `progress` is called with the number of commits that were read.
    """
    walked = Walked(matcher)
    edge = frozenset(name.encode() for name in cut)
    try:
        for batch in batches:
            walked.base_met = walked.base_met or (base is not None and base.encode() in batch.boundaries)
            steps = walked.count // _STEP
            walked.count += len(batch.ids)
            if walked.count // _STEP > steps:  # in a worker each report wakes the parent
                progress(walked.count)
            walked.cut = walked.cut or not edge.isdisjoint(batch.ids)
            for place in matcher.places(batch):
                events, pending = matcher.read(batch.record(place))
                if events or pending is not None:
                    walked.found.append((events, pending))
    except WalkError as error:
        walked.broken = str(error)
    return walked
