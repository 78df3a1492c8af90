"""Evidence from what a changelog does not list: absent only where the changelog is complete."""

from __future__ import annotations

from tailcall_audit.analyzer.model import EvidenceKind
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["read"]


def read(subject: Subject, request: Request) -> Reading:
    """Reads the commits that the changelog does not list."""
    assert subject.parts.changelog is not None  # the registry's condition
    silent = (item for item in subject.parts.changelog.evidence if item.kind is EvidenceKind.CHANGELOG_SILENCE)
    return Reading(tuple(silent))
