"""Evidence from a kernel's release: what the release of kernel.org below it and the builds of its distribution prove
about commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tailcall_audit.analyzer.architecture import ARCHITECTURES
from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.load import default_catalog_path
from tailcall_audit.analyzer.catalog.memory import Memory
from tailcall_audit.analyzer.catalog.shipped import shipped_branches
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.changes import reverted_after
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.readers.series import series_evidence
from tailcall_audit.analyzer.readers.upstream_release import (
    capability_in_release,
    commit_in_release,
    lowered,
    unknown_in_release,
)
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["read", "release_evidence"]

_SURE: Memory[UpstreamVersion, dict[str, Evidence]] = Memory(500)
_ABLE: Memory[tuple[UpstreamVersion, bool], tuple[Evidence, ...]] = Memory(500)


def _in_contradiction(commit: Commit, release: KernelRelease) -> Evidence:
    return unknown_in_release(commit, f"the text {release.release!r}", release.notes[0], release.settle)


def _in_snapshot(catalog: Catalog, commit: Commit, release: KernelRelease) -> Evidence:
    """Returns the evidence for a point of mainline's history between a release candidate and the next one: what is
    newer than the release is absent.

    A merge window opens when a release is out, so what came in the window of a later release was not in this tree
    (Linux Documentation/process/2.Process.rst).
    """
    evidence = commit_in_release(catalog, commit, release.version)
    later = release.vanilla_like and commit.first_release.base > release.version._replace(rc=None).base
    if evidence.presence is not Presence.ABSENT or later:
        return evidence
    detail = f"{commit.key} came to mainline in {commit.first_release}; {release.release} is a snapshot behind {release.version}, and may have it"
    return unknown_in_release(commit, evidence.citation, detail, release.settle)


def _in_whole_branch(catalog: Catalog, commit: Commit, release: KernelRelease) -> Evidence | None:
    """Returns evidence that no release of an ended branch has a commit, if the distribution's changelog of that series
    adds none.

    In this case the stable number, which an ABI number does not show, does not matter.
    """
    branch = catalog.branches.get(release.version.branch)
    series = release.whole_series
    if branch is None or branch.ended is None or branch.last is None or series is None:
        return None
    first, last = commit_in_release(catalog, commit, branch.last.base), commit_in_release(catalog, commit, branch.last)
    if {first.presence, last.presence} != {Presence.ABSENT} or commit.key in series.adds:
        return None
    detail = f"no release of {branch.name}.y through its last, {branch.last} ({branch.ended}), has {commit.key}, and {series.source}, read whole, adds none"
    return last._replace(detail=detail, confidence=min(last.confidence, Confidence.MEDIUM))


def _in_packages(catalog: Catalog, commit: Commit, release: KernelRelease) -> Evidence | None:
    """Returns the evidence on which all packages that an ABI number may name agree."""
    if not release.builds:
        return None
    found = [commit_in_release(catalog, commit, build.version) for build in release.builds]
    for index, build in enumerate(release.builds):
        named = release._replace(package=build.package, version=build.version, builds=())
        for fact in series_evidence(catalog, named):
            if fact.commit == commit.key:
                found[index] = fact
    if len({item.presence for item in found}) > 1 or found[0].presence is Presence.UNKNOWN:
        return None
    names = " to ".join(dict.fromkeys((release.builds[0].package, release.builds[-1].package)))
    detail = f"{release.release} is the package {names} by its ABI number ({release.builds_source}); {found[0].detail}"
    confidence = min(*(item.confidence for item in found), Confidence.MEDIUM)
    return found[0]._replace(kind=EvidenceKind.RELEASE, detail=detail, confidence=confidence)


def _on_top(catalog: Catalog, commit: Commit, release: KernelRelease) -> Evidence:
    """Returns the evidence for a kernel with unknown patches or unknown stable updates on top: what is present stays
    present, the rest is open.
    """
    if release.proof is Proof.NOTHING:
        return _in_contradiction(commit, release)
    if release.snapshot:
        return _in_snapshot(catalog, commit, release)
    if release.proof is Proof.BASE:
        decided = _in_packages(catalog, commit, release) or _in_whole_branch(catalog, commit, release)
        if decided is not None:
            return decided
    known_to_be_in = release.version if release.proof is Proof.PATCHED else release.version.base
    evidence = commit_in_release(catalog, commit, known_to_be_in)
    if evidence.presence is Presence.PRESENT and not reverted_after(commit, known_to_be_in):
        return evidence
    feature_ahead = commit.is_feature and commit.first_release > release.version.base
    if feature_ahead and release.vanilla_like:
        detail = f"{commit.key} is a feature of {commit.first_release}; {release.distro} follows the {release.version.branch} branch"
        return Evidence(EvidenceKind.RELEASE, commit.key, Presence.ABSENT, evidence.citation, detail, Confidence.LOW)
    if release.proof is Proof.BASE:
        detail = (
            f"{release.release} proves {release.version.branch} and not which stable updates are in; {evidence.detail}"
        )
    else:
        who = (
            f"{release.release} ({' '.join(release.modified)})" if release.modified else release.distro or "this kernel"
        )
        detail = f"not in {release.version} ({evidence.detail}), but {who} may have patches on top"
    settle = release.settle or evidence.settle or "tailcall-audit --tree PATH   on the sources that it was built from"
    return unknown_in_release(commit, evidence.citation, detail, settle)


def release_evidence(
    catalog: Catalog, release: KernelRelease, confidence: Confidence = Confidence.HIGH
) -> Iterator[Evidence]:
    """Yields what a release says about every commit and capability; `confidence` is the most that the evidence is
    given.
    """
    limit = lowered(confidence) if release.local else confidence
    sure = _surely_in(catalog, release)
    newer = release.version.base > catalog.newest_mainline
    if newer:
        limit = min(limit, Confidence.MEDIUM)
    # A version does not show its vendor's patches, and one of them may be a fix that the release lacks.
    for commit in catalog.commits.values():
        evidence = sure.get(commit.key)
        if evidence is None and release.proof is Proof.EXACT:
            evidence = commit_in_release(catalog, commit, release.version)
        elif evidence is None:
            evidence = _on_top(catalog, commit, release)
        absent = evidence.presence is Presence.ABSENT
        yield _capped(evidence, min(limit, Confidence.MEDIUM) if release.own_patches and absent else limit)
    if release.proof is not Proof.NOTHING:
        for found in _capabilities(catalog, release):
            yield _capped(found, limit)


def _surely_in(catalog: Catalog, release: KernelRelease) -> dict[str, Evidence]:
    """Returns the evidence about the commits that mainline had at the release's base: the same for all of a branch."""
    if release.proof is Proof.NOTHING or release.builds:
        return {}
    known, base = _SURE.of(catalog), release.version.base
    if base not in known:
        known[base] = {
            commit.key: commit_in_release(catalog, commit, base)
            for commit in catalog.commits.values()
            if commit.first_release <= base and commit.only_on_branch is None
            if base.branch not in commit.branches or not commit.branches[base.branch].changes
        }
    return known[base]


def _capabilities(catalog: Catalog, release: KernelRelease) -> tuple[Evidence, ...]:
    """Returns the evidence about every capability on every architecture: the same for all of a branch."""
    known, base = _ABLE.of(catalog), release.version.base
    if (base, release.vanilla_like) not in known:
        known[base, release.vanilla_like] = tuple(
            capability_in_release(capability, architecture, base, release.vanilla_like)
            for capability in catalog.capabilities.values()
            for architecture in ARCHITECTURES
        )
    return known[base, release.vanilla_like]


def _capped(evidence: Evidence, limit: Confidence) -> Evidence:
    if evidence.confidence <= limit:
        return evidence
    return evidence._replace(confidence=limit)


def _with_shipped_branches(catalog: Catalog, branch: str, keys: Iterable[str]) -> Catalog | None:
    """Returns the catalogue with what the shipped surveys say about these commits on a branch; None if they say
    nothing.

    A fact from the user's own survey stays. A catalogue that is not the shipped one has no shipped surveys.
    """
    if catalog.path != default_catalog_path():
        return None
    commits = dict(catalog.commits)
    known = {key: shipped_branches().get(key, {}).get(branch) for key in keys if key in commits}
    for key, fact in known.items():
        there = commits[key].branches.get(branch)
        if fact is not None and (there is None or there.survey is None):
            commits[key] = commits[key]._replace(branches={**commits[key].branches, branch: fact})
    return catalog._replace(commits=commits) if any(known.values()) else None


def _taught(catalog: Catalog, item: Evidence, teach: str) -> Evidence:
    """Returns an open question about a commit with the command that looks up the build's changelog; other items as they
    are.
    """
    is_open = item.presence is Presence.UNKNOWN and item.commit in catalog.commits
    return item._replace(settle=teach) if is_open else item


def _with_sources_at_hand(catalog: Catalog, item: Evidence) -> Evidence:
    """Returns an open question about a commit with the sources at hand as what settles it; other items as they are."""
    commit = catalog.commits.get(item.commit)
    if item.presence is not Presence.UNKNOWN or commit is None:
        return item
    return item._replace(settle=f"tailcall-audit explain {commit.key}   and compare with {', '.join(commit.files)}")


def read(subject: Subject, request: Request) -> Reading:
    """Reads what the subject's release proves."""
    assert subject.release is not None  # the registry's condition
    found: Iterable[Evidence] = tuple(release_evidence(request.catalog, subject.release, subject.confidence))
    open_ones = {item.commit for item in found if item.presence is Presence.UNKNOWN}
    surveyed = _with_shipped_branches(request.catalog, subject.release.version.branch, open_ones)
    if surveyed is not None:
        found = release_evidence(surveyed, subject.release, subject.confidence)
    catalogue = Basis("", request.catalog.date)
    found = (item if item.basis else item._replace(basis=catalogue) for item in found)
    teach = subject.release.teach
    if teach is not None:
        found = (_taught(request.catalog, item, teach) for item in found)
    if subject.parts.tree is not None:
        found = (_with_sources_at_hand(request.catalog, item) for item in found)
    return Reading(tuple(found))
