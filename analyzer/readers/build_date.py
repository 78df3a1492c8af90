"""Evidence from the day of a build: a kernel that was built before a change was first posted cannot have it.

This proves only that a fix is absent, never that a commit which brings a defect in is absent: reproducible builds stamp
their sources, which are patched afterwards (`tailcall_audit.analyzer.policy.facts` counts it for fixes only). The date
counts only if the distribution's file says, with a source, that its build strings carry real dates; if it is not older
than the release that the kernel is based on; and if a source says when the commit was first posted.
"""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["build_date_evidence", "read"]

_MARGIN_DAYS = 30
"""Days by which a patch may be older than its first posting: its author and testers have it earlier."""


def build_date_evidence(catalog: Catalog, release: KernelRelease) -> Iterator[Evidence]:
    """Yields the commits that were first posted 30 days or more after the kernel was built."""
    branch = catalog.branches.get(release.version.branch)
    if release.built is None or release.date_source is None or branch is None or branch.released is None:
        return
    from datetime import date, timedelta

    try:
        built = date.fromisoformat(release.built)
    except ValueError:
        return  # 31 February
    if built < date.fromisoformat(branch.released):
        return
    for commit in catalog.commits.values():
        posted = commit.first_posted
        if posted is None or built + timedelta(days=_MARGIN_DAYS) > date.fromisoformat(posted.day):
            continue
        detail = (
            f"built on {built}, {(date.fromisoformat(posted.day) - built).days} days before {commit.key} was first posted "
            f"({posted.day}: {posted.source}); its build dates are real: {release.date_source}"
        )
        yield Evidence(
            EvidenceKind.BUILD_DATE, commit.key, Presence.ABSENT, f"build string: {built}", detail, Confidence.MEDIUM
        )


def read(subject: Subject, request: Request) -> Reading:
    """Reads the build date of the subject's release."""
    assert subject.release is not None  # the registry's condition
    return Reading(tuple(build_date_evidence(request.catalog, subject.release)))
