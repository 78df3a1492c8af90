"""Opens changelogs that tests write."""

from __future__ import annotations

from pathlib import Path

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Skipped
from tailcall_audit.analyzer.subjects.changelog import open_subjects
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog
from tailcall_audit.analyzer.subjects.subject import Request, Subject


def open_subject(catalog: Catalog, tmp_path: Path, text: str) -> Subject:
    """The kernel that a changelog is of."""
    path = tmp_path / "changelog"
    path.write_text(text)
    (subject,) = open_subjects(Request(catalog, ()), str(path))
    assert not isinstance(subject, Skipped)
    return subject


def open_changelog(catalog: Catalog, tmp_path: Path, text: str) -> OpenChangelog:
    """A changelog, opened."""
    found = open_subject(catalog, tmp_path, text).parts.changelog
    assert found is not None
    return found
