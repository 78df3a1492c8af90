"""Evidence for tests of the policy."""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence

CATALOG = load_catalog()
PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN
HIGH, MEDIUM, LOW = Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW
KEY = "d6083f040d5d"
ORDER = (
    EvidenceKind.EMULATION,
    EvidenceKind.SOURCE,
    EvidenceKind.CODE,
    EvidenceKind.BTF,
    EvidenceKind.HISTORY,
    EvidenceKind.PATCH_QUEUE,
    EvidenceKind.CHANGELOG,
    EvidenceKind.SERIES,
    EvidenceKind.RELEASE,
    EvidenceKind.BUILD_DATE,
    EvidenceKind.CHANGELOG_SILENCE,
)
"""The order of docs/trees.md: what code does, how it looks, what its log says, what its version says."""


def say(
    kind: EvidenceKind, presence: Presence, confidence: Confidence = HIGH, key: str = KEY, **more: object
) -> Evidence:
    return Evidence(kind, key, presence, f"{kind.value} {presence.value}", "", confidence, **more)  # type: ignore[arg-type]
