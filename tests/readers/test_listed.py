"""What an entry lists, takes back or drops, as evidence: the words, the presence, and how sure it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.changelog import listed_evidence, mentioning_versions, read
from tailcall_audit.analyzer.subjects.subject import Request
from tests.readers.changelogs import open_changelog, open_subject
from tests.readers.test_changelog import FIX_6, OLDER, debian, update

KEY_6 = "d6083f040d5d"
S390, KEY_S390 = "Write back tail call counter for BPF_TRAMP_F_CALL_ORIG", "bc3905a71f02"
"""Linux kernel commit bc3905a71f02 ("s390/bpf: Write back tail call counter for BPF_TRAMP_F_CALL_ORIG") (in v6.18)."""


def _listed(catalog: Catalog, tmp_path: Path, *entries: tuple[str, str]) -> dict[str, Evidence]:
    opened = open_changelog(catalog, tmp_path, debian([*entries, OLDER]))
    return {item.commit: item for item in listed_evidence(opened)}


def test_a_listed_subject_is_present(catalog: Catalog, tmp_path: Path) -> None:
    item = _listed(catalog, tmp_path, ("6.1.1-1", update("6.1.1", FIX_6)))[KEY_6]
    assert (item.kind, item.presence) == (EvidenceKind.CHANGELOG, Presence.PRESENT)
    assert item.confidence is Confidence.HIGH
    assert item.detail.startswith(f'entry 6.1.1-1 lists "{FIX_6}"')


def test_the_newest_mention_counts(catalog: Catalog, tmp_path: Path) -> None:
    reverted = ("6.1.2-1", update("6.1.2", f'Revert "{FIX_6}"'))
    item = _listed(catalog, tmp_path, reverted, ("6.1.1-1", update("6.1.1", FIX_6)))[KEY_6]
    assert (item.presence, item.confidence) == (Presence.ABSENT, Confidence.HIGH)
    assert item.detail.startswith("reverted: entry 6.1.2-1 lists")
    again = ("6.1.3-1", update("6.1.3", FIX_6))
    item = _listed(catalog, tmp_path, again, reverted)[KEY_6]
    assert item.presence is Presence.PRESENT
    # In one entry of Debian's, the order is that of the commits.
    both = ("6.1.2-1", update("6.1.2", FIX_6, f'Revert "{FIX_6}"'))
    assert _listed(catalog, tmp_path, both)[KEY_6].presence is Presence.ABSENT


def test_a_dropped_patch_is_open(catalog: Catalog, tmp_path: Path) -> None:
    item = _listed(catalog, tmp_path, ("6.1.1-1", f"  * Drop patches:\n    - {FIX_6}\n"))[KEY_6]
    assert (item.presence, item.confidence) == (Presence.UNKNOWN, Confidence.LOW)
    assert item.settle is not None


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"s390/bpf: {S390}", True),
        (f"[s390x] bpf: {S390}", True),
        # Without the tag it may be the same subject of another architecture.
        (f"bpf: {S390}", False),
        (f"s390/bpf: {S390} again", False),
    ],
)
def test_a_subject_without_its_architecture_needs_the_tag(
    catalog: Catalog, tmp_path: Path, line: str, found: bool
) -> None:
    assert (KEY_S390 in _listed(catalog, tmp_path, ("6.1.1-1", update("6.1.1", line)))) is found


def test_a_builder_of_the_same_sources_has_what_is_listed_with_less_confidence(
    catalog: Catalog, tmp_path: Path
) -> None:
    for line, presence, confidence in (
        (FIX_6, Presence.PRESENT, Confidence.MEDIUM),
        (f'Revert "{FIX_6}"', Presence.UNKNOWN, Confidence.LOW),
    ):
        subject = open_subject(catalog, tmp_path, debian([("6.1.1-1", update("6.1.1", line)), OLDER]))
        assert subject.parts.changelog is not None
        inherited = dataclasses.replace(subject.parts.changelog, inherited="Debian")
        subject = subject._replace(parts=subject.parts._replace(changelog=inherited))
        item = next(item for item in read(subject, Request(catalog, ())).evidence if item.commit == KEY_6)
        assert (item.presence, item.confidence) == (presence, confidence)
        assert item.detail.startswith("by the changelog of Debian")


def test_the_versions_that_mention_a_commit_are_the_oldest_first(catalog: Catalog, tmp_path: Path) -> None:
    entries = [
        ("6.1.3-1", update("6.1.3", f'Revert "{FIX_6}"')),
        ("6.1.2-1", update("6.1.2", "x: y")),
        ("6.1.1-1", update("6.1.1", FIX_6)),
    ]
    opened = open_changelog(catalog, tmp_path, debian([*entries, OLDER]))
    assert mentioning_versions(opened) == ["6.1.1-1", "6.1.3-1"]
