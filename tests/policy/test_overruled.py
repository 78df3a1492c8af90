"""Notes on commits about which the code of a target contradicts its log or its version."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.overruled import overruled_by_code
from tailcall_audit.analyzer.policy.verdict import judge

(HIERARCHY,) = load_catalog().find("x86-hierarchy")
FIX = "116e04ba1459"
PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN


def say(kind: EvidenceKind, presence: Presence, name: str = FIX) -> Evidence:
    return Evidence(kind, name, presence, "", f"{kind.value} of {name} (at a place)", Confidence.HIGH)


def notes(*about_the_fix: Evidence) -> list[str]:
    needed = [say(EvidenceKind.HISTORY, PRESENT, name) for name in HIERARCHY.commits if name != FIX]
    return overruled_by_code([judge(HIERARCHY, Facts([*needed, *about_the_fix], "x86_64"), "x86_64")])


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (EvidenceKind.EMULATION, "the binary"),
        (EvidenceKind.CODE, "the binary"),
        (EvidenceKind.BTF, "the binary"),
        (EvidenceKind.SOURCE, "the source"),
    ],
)
@pytest.mark.parametrize(("seen", "other", "words"), [(PRESENT, ABSENT, "is in"), (ABSENT, PRESENT, "is not in")])
def test_code_that_contradicts_the_log_has_a_note(
    kind: EvidenceKind, place: str, seen: Presence, other: Presence, words: str
) -> None:
    (note,) = notes(say(kind, seen), say(EvidenceKind.HISTORY, other))
    assert note.startswith(f"{FIX} {words} {place}: {kind.value} of {FIX}; but history says {other.value}")


def test_code_that_agrees_or_was_not_understood_has_none() -> None:
    assert notes(say(EvidenceKind.SOURCE, PRESENT), say(EvidenceKind.HISTORY, PRESENT)) == []
    assert notes(say(EvidenceKind.SOURCE, UNKNOWN), say(EvidenceKind.HISTORY, PRESENT)) == []


def test_a_log_that_contradicts_a_version_is_no_code() -> None:
    assert notes(say(EvidenceKind.HISTORY, PRESENT), say(EvidenceKind.RELEASE, ABSENT)) == []
