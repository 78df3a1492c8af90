"""Weighs the evidence about one commit.

Evidence is ranked (`RANK`), and the higher rank wins: functions of an image that were run, the sources, an image's
machine code, its type data, the history, a patch queue, what a changelog lists, a distribution's series, the release,
the day of the build. A changelog's silence ranks last, because the release survey answers the same question better. If
a high-ranking source was read but not understood (an unknown code shape, a partial revert), the answer is unknown:
lower ranks may not overrule it.

A run of functions whose control failed is no answer. But these functions do not do what they do on every kernel, so
what lower ranks say of them may be untrue: they may still show that a fix is absent, or that what a defect needs is
present, and not the opposite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.expression import Interval
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.registry import RANK

__all__ = ["Weighed", "weigh"]

_CONTESTED = (
    EvidenceKind.SOURCE,
    EvidenceKind.CODE,
    EvidenceKind.HISTORY,
    EvidenceKind.PATCH_QUEUE,
    EvidenceKind.CHANGELOG,
    EvidenceKind.SERIES,
)
"""If evidence of these kinds was read and not understood, lower ranks decide nothing."""


class Weighed(NamedTuple):
    """The answer from all evidence about one commit, the evidence that decided, and the statements that disagree."""

    presence: Presence
    confidence: Confidence
    decisive: Evidence | None
    disagreements: tuple[str, ...] = ()

    @property
    def interval(self) -> Interval:
        """The answer on the scale of `tailcall_audit.analyzer.catalog.expression`."""
        if self.presence is Presence.UNKNOWN:
            return Interval(0, 2, 0)
        value = 2 if self.presence is Presence.PRESENT else 0
        return Interval(value, value, int(self.confidence))


def _say(item: Evidence) -> str:
    return f"{item.kind.value} says {item.presence.value} ({item.detail or item.citation})"


def _of_one_kind(items: Sequence[Evidence]) -> tuple[Evidence, tuple[str, ...]]:
    """Returns the one statement that several of one kind make together, and each of them in words if they disagree."""
    known = [item for item in items if item.presence is not Presence.UNKNOWN]
    contested = [item for item in items if item.presence is Presence.UNKNOWN and not item.unreadable]
    if not known:
        return (contested or list(items))[0], ()
    if len({item.presence for item in known}) == 1 and not (contested and items[0].kind in _CONTESTED):
        return max(known, key=lambda item: (not item.conditional, item.confidence)), ()
    first = known[0]
    detail = f"{first.kind.value} contradicts itself: " + "; ".join(_say(item) for item in (*known, *contested))
    combined = first._replace(
        presence=Presence.UNKNOWN, confidence=Confidence.LOW, detail=detail, conditional=False, unreadable=False
    )
    return combined, tuple(_say(item) for item in known)


def weigh(items: Sequence[Evidence], safe: Presence = Presence.PRESENT) -> Weighed:
    """Weighs the evidence about one commit. `safe` is the presence that makes a verdict safe: PRESENT of a fix, ABSENT
    of what a defect needs.

    Statements of one kind that agree count as one. If they disagree, the answer is unknown: neither that kind nor a
    lower rank decides.
    """
    if len(items) == 1 and items[0].kind in RANK:
        return _alone(items[0])
    ranked, torn = _ranked(items)
    if not ranked:
        return Weighed(Presence.UNKNOWN, Confidence.LOW, None)
    misbehaving: Evidence | None = None
    for item in ranked:
        if _is_not_understood(item, torn):
            # It was read and not understood: code of an unknown shape, a partial revert, a changelog entry that lists a fix
            # and its revert. Lower ranks know less about this kernel: they are shown and decide nothing.
            return _left_open(item, ranked, torn[item.kind])
        if item.kind is EvidenceKind.EMULATION and item.presence is Presence.UNKNOWN and not item.unreadable:
            misbehaving = item
        # A backport whose message mentions conflicts proves the fix only if the code agrees, and the code gave no answer.
        if item.presence is Presence.UNKNOWN or item.conditional:
            continue
        if misbehaving is not None and item.presence is safe:
            return _left_open(misbehaving, ranked)
        return _decided(item, ranked)
    # Evidence that holds on a condition comes first: it is nearer to an answer than evidence that was not read.
    nearest = sorted(ranked, key=lambda item: not item.conditional)
    return Weighed(Presence.UNKNOWN, Confidence.LOW, next((item for item in nearest if item.settle), ranked[0]))


def _alone(only: Evidence) -> Weighed:
    """Returns the answer of a single statement."""
    if only.presence is Presence.UNKNOWN or only.conditional:
        return Weighed(Presence.UNKNOWN, Confidence.LOW, only)
    return Weighed(only.presence, only.confidence, only)


def _ranked(items: Sequence[Evidence]) -> tuple[list[Evidence], dict[EvidenceKind, tuple[str, ...]]]:
    """Returns one statement of each kind, the strongest first, and by kind what contradicts itself."""
    by_kind: dict[EvidenceKind, list[Evidence]] = {}
    for item in items:
        by_kind.setdefault(item.kind, []).append(item)
    best: dict[EvidenceKind, Evidence] = {}
    torn: dict[EvidenceKind, tuple[str, ...]] = {}
    for kind, group in by_kind.items():
        best[kind], torn[kind] = _of_one_kind(group)
    return [best[kind] for kind in RANK if kind in best], torn


def _is_not_understood(item: Evidence, torn: Mapping[EvidenceKind, tuple[str, ...]]) -> bool:
    """Returns True for evidence that was read and gives no answer, so that lower ranks decide nothing."""
    contested = item.kind in _CONTESTED and not item.unreadable
    return item.presence is Presence.UNKNOWN and (contested or bool(torn[item.kind]))


def _left_open(item: Evidence, ranked: Sequence[Evidence], before: tuple[str, ...] = ()) -> Weighed:
    """Returns the answer that evidence leaves open, with what each other kind says."""
    others = tuple(_say(other) for other in ranked if other.presence is not Presence.UNKNOWN)
    return Weighed(Presence.UNKNOWN, Confidence.LOW, item, (*before, *others))


def _decided(item: Evidence, ranked: Sequence[Evidence]) -> Weighed:
    """Returns the answer of the strongest evidence that has one, with what disagrees."""
    others = tuple(_say(other) for other in ranked if other.presence not in (Presence.UNKNOWN, item.presence))
    confidence = item.confidence
    if item.kind in (EvidenceKind.CODE, EvidenceKind.BTF):
        # They may show only a part of a fix: a source that agrees with them may have more confidence.
        confidence = max(other.confidence for other in ranked if other.presence is item.presence)
    return Weighed(item.presence, confidence, item, others)
