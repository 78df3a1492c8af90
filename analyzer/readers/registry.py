"""The readers: each reads one kind of evidence from one part of a subject. Their order is the rank of what they read.

A reader is a module with a function ``read(subject, request) -> Reading``. It is imported when a subject has the part
that it reads, so that an audit of a version string loads no library that only a tree or an image needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.model import Evidence, EvidenceKind

if TYPE_CHECKING:
    from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["RANK", "READERS", "Reader", "Reading"]


class Reading(NamedTuple):
    """Evidence about commits, and notes for the user about the reading."""

    evidence: tuple[Evidence, ...] = ()
    notes: tuple[str, ...] = ()


class Reader(NamedTuple):
    """One source of evidence.

    The reader needs one of the fields of `Parts` that `parts` names; if it names none, it reads the subject's release.
    `beside` marks a reader that mostly waits for another process: it runs in a thread while the others read.
    """

    kind: EvidenceKind
    parts: tuple[str, ...]
    module: str
    beside: bool = False

    def applies(self, subject: Subject) -> bool:
        """Returns True if the subject has a part that is read."""
        if not self.parts:
            return subject.release is not None
        return any(getattr(subject.parts, part) is not None for part in self.parts)

    def read(self, subject: Subject, request: Request) -> Reading:
        """Reads the subject; raises AuditError if it cannot be read."""
        module = import_module(f"tailcall_audit.analyzer.readers.{self.module}")
        found: Reading = module.read(subject, request)
        return found


READERS = (
    Reader(EvidenceKind.EMULATION, ("image",), "emulation.reader"),
    Reader(EvidenceKind.SOURCE, ("tree",), "source"),
    Reader(EvidenceKind.CODE, ("image",), "code.reader"),
    Reader(EvidenceKind.BTF, ("image", "types"), "btf"),
    Reader(EvidenceKind.HISTORY, ("tree",), "history", beside=True),
    Reader(EvidenceKind.PATCH_QUEUE, ("tree", "patches"), "patches"),
    Reader(EvidenceKind.CHANGELOG, ("changelog",), "changelog"),
    Reader(EvidenceKind.SERIES, (), "series"),
    Reader(EvidenceKind.RELEASE, (), "release"),
    Reader(EvidenceKind.BUILD_DATE, (), "build_date"),
    # A stable release ranks above a changelog's silence: a survey of the whole branch is behind it.
    Reader(EvidenceKind.CHANGELOG_SILENCE, ("changelog",), "changelog_silence"),
)
"""Every reader, by rank: the evidence of an earlier one outranks that of a later one."""

RANK = tuple(reader.kind for reader in READERS)
"""The kinds of evidence about commits, the strongest first."""
