"""Evidence from the commits that a changelog does not list: they are absent only if the changelog is complete."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.kernelfiles.release.package_release import distribution_of
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.changelog import listed_evidence
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["read", "silent_evidence"]

_COMPLETE = "tailcall-audit --changelog FILE   with the complete changelog of the source package"
_SOURCES = "tailcall-audit --tree PATH   on the sources that it was built from; its vendor does not list every commit"


def _settle(opened: OpenChangelog) -> str:
    """Returns the command that settles what an incomplete changelog leaves open: another changelog only if its vendor
    lists every commit that it takes.
    """
    distribution = distribution_of(opened.catalog, opened.release)
    form = None if distribution is None else distribution.changelog
    return _COMPLETE if form is not None and form.lists_commits else _SOURCES


def _not_listed(opened: OpenChangelog, commit: Commit, settle: str) -> Evidence:
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
        settle=settle,
        unreadable=True,
    )


def silent_evidence(opened: OpenChangelog) -> Iterator[Evidence]:
    """Yields evidence about each commit later than the base that the changelog neither lists nor hints at."""
    seen = {item.commit for item in listed_evidence(opened)}
    settle = _settle(opened)
    for key, commit in opened.catalog.commits.items():
        in_base = commit.first_release <= opened.window.base and commit.only_on_branch is None
        if key not in seen and not in_base:
            yield _not_listed(opened, commit, settle)


def read(subject: Subject, request: Request) -> Reading:
    """Reads the commits that the changelog does not list."""
    opened = subject.parts.changelog
    assert opened is not None  # the registry's condition
    return Reading(tuple(silent_evidence(opened)) if opened.inherited is None else ())
