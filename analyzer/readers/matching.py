"""Recognises the catalogue's commits in a history: which commit applies one, and which takes one back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import Batch, Record
from tailcall_audit.analyzer.model import Confidence
from tailcall_audit.analyzer.readers.messages import (
    find_reverts,
    find_trailers,
    has_conflicts,
    normalize_subject,
    reverts_merge,
    says_revert,
    unwrap,
)
from tailcall_audit.analyzer.text import printable

__all__ = ["Event", "Matcher", "PendingRevert"]

SUBJECT_LENGTH = 120
_ELSEWHERE = ("selftests", "tools/", "libbpf", "bpftool", "docs", "Documentation")
"""Commits with these subjects change nothing in a kernel, even if they quote a fix."""
_LEAST_CORE = 20
"""The shortest subject that is looked for inside of longer ones; the shortest in the catalogue is longer."""
_MENTIONED = re.compile(rb"ommit:?[ \t]+([0-9a-f]{12})")
_ODD_STARTS = (
    b"UPSTREAM",
    b"BACKPORT",
    b"FROM",
    b"[",
    b"upstream",
    b"mainline",
    b'Revert "',
    b'Reapply "',
    b" ",
    b"\t",
    b"\r",
    b"\f",
    b"\v",
)
_ODD_ENDS = (b".", b" ", b"\t", b"\r")
_ODD_FIRST = frozenset((b"", *(start[:1] for start in _ODD_STARTS)))
"""Their first bytes (none in an empty one), which most subjects do not have: a look at one byte is cheaper than a look
at all of them.
"""
_ODD_LAST = frozenset(_ODD_ENDS)


def _holding(texts: list[bytes], part: bytes) -> Iterator[int]:
    """Yields the places of the texts that contain a part."""
    return (place for place, text in enumerate(texts) if part in text)


@dataclass(frozen=True)
class Event:
    """A commit of the walk that applies (`effect` True), reverts (False) or half-reverts (None) a commit of the
    catalogue.
    """

    id: str
    subject: str
    key: str
    effect: bool | None
    how: str
    confidence: Confidence
    conditional: bool = False
    is_revert: bool = False


@dataclass(frozen=True)
class PendingRevert:
    """A revert whose target is known by an id of this tree only: it is resolved when the older commits have been seen."""

    id: str
    subject: str
    targets: tuple[str, ...]
    partial: bool
    of_merge: bool


class Matcher:
    """Recognises the catalogue's commits in messages."""

    def __init__(self, catalog: Catalog, branch: str) -> None:
        self._by_id: dict[str, str] = {}
        self._by_subject: dict[str, str] = {}
        self.exceptions = {(normalize_subject(entry.subject), entry.commit): entry for entry in catalog.not_fixes}
        self.cosmetic = {(normalize_subject(entry.subject), entry.commit): entry for entry in catalog.cosmetic_reverts}
        for key, commit in catalog.commits.items():
            if commit.only_on_branch not in (None, branch):
                self._by_id.setdefault(key, key)  # its own id identifies it on any branch, its subject does not
                continue
            for name in (commit.id, *commit.aliases, *(fact.id for fact in commit.branches.values() if fact.id)):
                self._by_id.setdefault(name[:12], key)
            self._by_subject.setdefault(normalize_subject(commit.subject), key)
        self._cores = [(subject, key) for subject, key in self._by_subject.items() if len(subject) >= _LEAST_CORE]
        # An inner word of each subject: a text that contains the subject has that word between blanks.
        self._marks = {
            max(subject.split()[1:-1], key=len).encode() for subject, _ in self._cores if subject.count(" ") > 1
        }
        self._id_bytes = {name.encode() for name in self._by_id}
        self._subject_bytes = {commit.subject.encode() for commit in catalog.commits.values()}
        self._full = {commit.id[:12]: commit.id for commit in catalog.commits.values()}
        self._full |= {
            fact.id[:12]: fact.id for commit in catalog.commits.values() for fact in commit.branches.values() if fact.id
        }

    def key(self, name: str) -> str | None:
        """Returns the commit that an id of 12 or more digits names, resolved against the catalogue only."""
        key = self._by_id.get(name[:12])
        full = self._full.get(name[:12], "")
        shorter = min(len(name), len(full))
        return key if key is not None and name[:shorter] == full[:shorter] else None

    def subject(self, subject: str) -> str | None:
        """Returns the commit that has this subject, compared as a whole."""
        return self._by_subject.get(normalize_subject(subject))

    def may_matter(self, record: Record) -> bool:
        """Returns True if `read` can find something in a commit: a test on bytes, since a stable branch has tens of
        thousands.
        """
        message = record.message
        mentioned = _MENTIONED.findall(message)
        if mentioned and not self._id_bytes.isdisjoint(mentioned):
            return True
        subject = message.partition(b"\n")[0]
        if subject in self._subject_bytes or record.id[:12] in self._id_bytes or b"everts " in message:
            return True
        if not self._marks.isdisjoint(subject.split()):
            return True
        # An unusual start or end, folded by `normalize_subject`, or a revert known by its subject only.
        odd = (
            not subject
            or (subject[:1] in _ODD_FIRST and subject.startswith(_ODD_STARTS))
            or subject[-1:] in _ODD_LAST
            or b"  " in subject
            or b"\t" in subject
        )
        return odd and (
            subject.startswith((b'Revert "', b'Reapply "')) or self.subject(_subject_of(record)) is not None
        )

    def places(self, batch: Batch) -> list[int]:
        """Returns the places in a batch of the commits that `may_matter`.

        Most commits are ruled out by searches over all of the batch at once, which take a fifth of the time.
        """
        messages = batch.messages
        found: set[int] = set()
        if not self._id_bytes.isdisjoint([name[:12] for name in batch.ids]):
            found.update(place for place, name in enumerate(batch.ids) if name[:12] in self._id_bytes)
        text = b"\0".join(messages)
        for name in self._id_bytes.intersection(_MENTIONED.findall(text)):
            found.update(_holding(messages, name))
        # A word without the blank behind it is found in two thirds of the time: most words end in a blank.
        if b"everts" in text and b"everts " in text:
            found.update(_holding(messages, b"everts "))
        subjects = [message.partition(b"\n")[0] for message in messages]
        found.update(
            place for place, subject in enumerate(subjects) if subject[:1] in _ODD_FIRST or subject[-1:] in _ODD_LAST
        )
        together = b"\n".join(subjects)
        for blanks in (b"  ", b"\t"):
            if blanks in together:
                found.update(_holding(subjects, blanks))
        if not self._subject_bytes.isdisjoint(subjects):
            found.update(place for place, subject in enumerate(subjects) if subject in self._subject_bytes)
        for mark in self._marks.intersection(together.split()):
            found.update(_holding(subjects, mark))
        return [place for place in sorted(found) if self.may_matter(batch.record(place))]

    def read(self, record: Record) -> tuple[list[Event], PendingRevert | None]:
        """Returns the events in one commit. Reverts are recognised before backports: both name an upstream commit."""
        subject = _subject_of(record)
        shown = printable(subject, SUBJECT_LENGTH)
        events: list[Event] = []
        name = record.id.decode("ascii", "replace")
        own = self.key(name)
        if own is not None:
            return [Event(name, shown, own, True, "the commit itself", Confidence.HIGH)], self._revert(
                record, subject, shown
            )
        if b" " in record.parents:  # a merge
            return events, self._revert(record, subject, shown)
        by_subject = self.subject(subject)
        # A fix may itself say what it reverts; a commit with the exact subject of a fix is that fix.
        pending = None if by_subject is not None else self._revert(record, subject, shown)
        if pending is not None:
            return events, pending
        conditional = has_conflicts(record.message)
        for trailer in find_trailers(record.message):
            key = self.key(trailer.id)
            if (
                key is None
                or not (trailer.certain or key == by_subject)
                or (normalize_subject(subject), key) in self.exceptions
            ):
                continue
            events.append(
                Event(name, shown, key, True, f"names upstream {trailer.id[:12]}", Confidence.HIGH, conditional)
            )
        if not events and by_subject is not None and (normalize_subject(subject), by_subject) not in self.exceptions:
            events.append(Event(name, shown, by_subject, True, "has its subject", Confidence.MEDIUM, conditional))
        return events or self._alike(name, subject, shown), None

    def _alike(self, name: str, subject: str, shown: str) -> list[Event]:
        """Returns the event of a subject that contains a commit's subject in an unknown form: its effect is open."""
        folded = " ".join(subject.split())
        if folded.startswith(_ELSEWHERE):
            return []
        keys = [key for core, key in self._cores if core in folded]
        what = "looks like a revert of it" if says_revert(subject) else "looks like it"
        return [
            Event(name, shown, key, None, what, Confidence.LOW)
            for key in keys
            if (normalize_subject(subject), key) not in self.exceptions
        ]

    def _revert(self, record: Record, subject: str, shown: str) -> PendingRevert | None:
        reverts = find_reverts(record.message)
        unwrapped = unwrap(subject)
        if not reverts and unwrapped.depth == 0:
            return None
        return PendingRevert(
            record.id.decode("ascii", "replace"),
            shown if len(subject) > SUBJECT_LENGTH else subject,
            tuple(item.id for item in reverts),
            unwrapped.partial or any(item.partial for item in reverts),
            reverts_merge(record.message),
        )

    def resolve(self, revert: PendingRevert, seen: dict[str, list[Event]]) -> list[Event]:
        """Returns what a revert takes back: by the id of a commit of this tree, by an upstream id, or else by the
        subject that it quotes.

        `seen` has the events of the older commits, by the first 12 digits of their ids.
        """
        shown = printable(revert.subject, SUBJECT_LENGTH)
        if revert.of_merge:
            # It takes back commits that it does not name: any that was seen so far may be one of them.
            keys = dict.fromkeys(event.key for found in seen.values() for event in found)
            how = "reverts a merge that may have brought it"
            return [Event(revert.id, shown, key, None, how, Confidence.LOW, is_revert=True) for key in keys]
        unwrapped = unwrap(revert.subject)
        effects: list[tuple[str, bool | None]] = []
        for target in revert.targets:
            local = [
                event
                for event in seen.get(target[:12], ())
                if event.id.startswith(target) or target.startswith(event.id)
            ]
            upstream = self.key(target)
            if local:
                effects += [(event.key, None if event.effect is None else not event.effect) for event in local]
            elif upstream is not None:
                effects.append((upstream, False))
        if not effects:
            key = self.subject(unwrapped.subject) if unwrapped.depth else None
            if key is None:
                return self._alike(revert.id, revert.subject, shown)
            effects = [(key, unwrapped.depth % 2 == 0)]
        events = []
        for key, whole in dict(effects).items():
            if (normalize_subject(revert.subject), key) in self.cosmetic:
                continue
            effect = None if revert.partial else whole
            how = {None: "reverts a part of it", False: "reverts it", True: "reverts its revert"}[effect]
            events.append(Event(revert.id, shown, key, effect, how, Confidence.HIGH, is_revert=True))
        return events


def _subject_of(record: Record) -> str:
    return record.message[:200_000].lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").strip()
