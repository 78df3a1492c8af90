"""What a changelog does not list: absent in a complete one, open in any other, and never said of what it lists."""

from __future__ import annotations

from pathlib import Path

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Confidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.changelog_silence import silent_evidence
from tests.readers.changelogs import open_changelog
from tests.readers.test_changelog import FIX_6, OLDER, debian, update

_FIX_6, _FEATURE = "d6083f040d5d", "be8704ff07d2"
_ON_5_15_ONLY = "c04992612ed4"


def test_a_complete_changelog_lacks_what_it_does_not_list(catalog: Catalog, tmp_path: Path) -> None:
    opened = open_changelog(
        catalog, tmp_path, debian([("6.1.2-1", update("6.1.1", "x") + update("6.1.2", "y")), OLDER])
    )
    assert opened.window.gap is None
    found = {item.commit: item for item in silent_evidence(opened)}
    item = found[_FIX_6]
    assert (item.kind, item.presence) == (EvidenceKind.CHANGELOG_SILENCE, Presence.ABSENT)
    assert item.confidence is Confidence.MEDIUM
    assert not item.unreadable
    assert "which is complete" in item.detail


def test_nothing_is_said_of_what_the_base_has_or_an_entry_lists(catalog: Catalog, tmp_path: Path) -> None:
    opened = open_changelog(catalog, tmp_path, debian([("6.1.1-1", update("6.1.1", FIX_6)), OLDER]))
    found = {item.commit for item in silent_evidence(opened)}
    assert _FIX_6 not in found
    later = {
        key
        for key, commit in catalog.commits.items()
        if commit.first_release > opened.window.base or commit.only_on_branch is not None
    }
    assert _FEATURE not in later  # in v5.6
    assert found == later - {_FIX_6}
    assert _ON_5_15_ONLY in found  # a commit of one stable branch is in no base


def test_a_changelog_with_a_hole_leaves_open_what_it_does_not_list(catalog: Catalog, tmp_path: Path) -> None:
    opened = open_changelog(catalog, tmp_path, debian([("6.1.3-1", update("6.1.3", "y")), OLDER]))
    assert opened.window.gap is not None
    item = next(item for item in silent_evidence(opened) if item.commit == _FIX_6)
    assert (item.presence, item.confidence, item.unreadable) == (Presence.UNKNOWN, Confidence.LOW, True)
    assert item.settle is not None
    assert opened.window.gap in item.detail
