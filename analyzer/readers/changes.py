"""Commits that a stable branch took, reverted and took again, and the releases that have them."""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.commit import BranchFact, Commit
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["changed_in_release", "reverted_after", "was_there"]


def changed_in_release(commit: Commit, fact: BranchFact, version: UpstreamVersion, settle: str) -> Evidence:
    """Returns the evidence about such a commit in a release of its branch."""
    there = commit.first_release <= version.base and commit.only_on_branch is None
    words = f"{version.branch}.y {'has' if there else 'lacks'} {commit.key} from its start"
    takes_back, brings_first = fact.changes[0]
    if version < takes_back and not brings_first and not there:
        # Something brought it before, listed or not.
        detail = f"{takes_back} reverts {commit.key}, and it is not known since when {version.branch}.y had it"
        return _open(commit, f"survey {fact.survey}: {fact.source}", detail, settle)
    for release, brings in fact.changes:
        if release <= version:
            there = brings
            words = f"{version.branch}.y {'has' if brings else 'has reverted'} {commit.key} {'since' if brings else 'in'} {release}"
    citation = f"survey {fact.survey}: {fact.source}"
    if not there and fact.surveyed_through is not None and version > fact.surveyed_through:
        detail = f"{words}; {fact.surveyed_through} is the last release surveyed, and {version} is newer"
        return _open(commit, citation, detail, settle)
    presence = Presence.PRESENT if there else Presence.ABSENT
    return Evidence(EvidenceKind.RELEASE, commit.key, presence, citation, words, Confidence.HIGH, basis=fact.basis)


def _open(commit: Commit, citation: str, detail: str, settle: str) -> Evidence:
    return Evidence(EvidenceKind.RELEASE, commit.key, Presence.UNKNOWN, citation, detail, Confidence.LOW, settle=settle)


def was_there(commit: Commit, branch: str) -> bool:
    """Returns True if a branch took a commit, or took it back: some of its releases may have it, whatever its first and
    its last one have.
    """
    fact = commit.branches.get(branch)
    return fact is not None and bool(fact.changes)


def reverted_after(commit: Commit, version: UpstreamVersion) -> bool:
    """Returns True if a later release of the branch takes a commit back, so that "at least this release" does not prove
    it.
    """
    fact = commit.branches.get(version.branch)
    return fact is not None and any(release > version and not brings for release, brings in fact.changes)
