"""Turns statements that rest on facts which are too old for the user into unknown ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tailcall_audit.analyzer.basis import age_in_days
from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence

__all__ = ["without_old"]

_FETCHED = "tailcall-audit survey --stable DIR --write   (DIR: a clone of the stable tree that was fetched since)"


def without_old(evidence: Iterable[Evidence], days: int, today: str, teach: str | None) -> Iterator[Evidence]:
    """Yields evidence as it is, and an unknown in the place of each statement that rests on what is older than `days`.

    `teach` is the command that finds out what a build has by itself, None if there is none. What a vendor was seen to
    lack stays open whatever its stable release has: that it is old makes it no less likely.
    """
    for item in evidence:
        if item.basis is None or item.presence is Presence.UNKNOWN or age_in_days(item.basis.date, today) <= days:
            yield item
            continue
        age = age_in_days(item.basis.date, today)
        old = "1 day" if age == 1 else f"{age} days"
        lacked = item.kind is EvidenceKind.SERIES and item.presence is Presence.ABSENT
        yield item._replace(
            presence=Presence.UNKNOWN,
            confidence=Confidence.LOW,
            detail=f"{item.detail or item.citation}; that rests on {item.basis}, which is {old} old ({parameter('max_age', str(days))})",
            settle=teach or _FETCHED,
            unreadable=not lacked,
            conditional=False,
        )
