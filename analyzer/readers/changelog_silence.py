"""Evidence from the commits that a changelog does not list: they are absent only if the changelog is complete."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.changelog import listed_evidence
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["read", "silent_evidence"]

_SETTLE = "tailcall-audit --changelog FILE   with the complete changelog of the source package"


def _not_listed(opened: OpenChangelog, commit: Commit) -> Evidence:
    path = opened.changelog.path
    if opened.window.gap is None:
        detail = f"not listed in {opened.span} of {path}, which is complete"
        return Evidence(EvidenceKind.CHANGELOG_SILENCE, commit.key, Presence.ABSENT, path, detail, Confidence.MEDIUM)
    detail = f"not listed in {path}, which is not complete: {opened.window.gap}"
    return Evidence(
        EvidenceKind.CHANGELOG_SILENCE,
        commit.key,
        Presence.UNKNOWN,
        path,
        detail,
        Confidence.LOW,
        settle=_SETTLE,
        unreadable=True,
    )


def silent_evidence(opened: OpenChangelog) -> Iterator[Evidence]:
    """Yields evidence about each commit later than the base that the changelog neither lists nor hints at."""
    seen = {item.commit for item in listed_evidence(opened)}
    for key, commit in opened.catalog.commits.items():
        in_base = commit.first_release <= opened.window.base and commit.only_on_branch is None
        if key not in seen and not in_base:
            yield _not_listed(opened, commit)


def read(subject: Subject, request: Request) -> Reading:
    """Reads the commits that the changelog does not list."""
    opened = subject.parts.changelog
    assert opened is not None  # the registry's condition
    return Reading(tuple(silent_evidence(opened)) if opened.inherited is None else ())
