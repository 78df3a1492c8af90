"""What a release proves about commits, by the catalogue's survey of the stable branches and distribution series."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.architecture import ARCHITECTURES
from tailcall_audit.analyzer.catalog.types import Capability, Catalog, Commit, SeriesFact
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.subjects.release_string import KernelRelease
from tailcall_audit.analyzer.subjects.schemes import Proof
from tailcall_audit.analyzer.version import UpstreamVersion, build_key

__all__ = ["capability_in_release", "commit_in_release", "release_evidence", "series_evidence"]


def _lowered(confidence: Confidence) -> Confidence:
    return Confidence(max(confidence - 1, Confidence.LOW))


def _unknown(commit: Commit, citation: str, detail: str, settle: str | None) -> Evidence:
    return Evidence(EvidenceKind.RELEASE, commit.key, Presence.UNKNOWN, citation, detail, Confidence.LOW, settle=settle)


def commit_in_release(catalog: Catalog, commit: Commit, version: UpstreamVersion) -> Evidence:
    """Whether an upstream release (nothing on top of it) contains a commit."""
    sure = Confidence.MEDIUM if commit.unverified else Confidence.HIGH
    first = commit.first_release
    settle = f"tailcall-audit --tree PATH --rev v{version}   on a clone of the stable tree that has this release"

    def found(presence: Presence, detail: str, source: str, confidence: Confidence = sure) -> Evidence:
        return Evidence(EvidenceKind.RELEASE, commit.key, presence, f"catalogue: {source}", detail, confidence)

    if first <= version.base and commit.only_on_branch is None:
        return found(Presence.PRESENT, f"{commit.key} is in mainline since {first}", commit.source)
    fact = commit.branches.get(version.branch)
    if fact is not None:
        confidence = _lowered(sure) if fact.unverified and sure is Confidence.HIGH else sure
        if fact.backported and fact.release is not None:
            there = version >= fact.release
            return found(
                Presence.PRESENT if there else Presence.ABSENT,
                f"{version.branch}.y has {commit.key} since {fact.release}",
                fact.source,
                confidence,
            )
        if fact.present_by is not None:
            if version >= fact.present_by:
                return found(
                    Presence.PRESENT,
                    f"{version.branch}.y has {commit.key} by {fact.present_by}",
                    fact.source,
                    confidence,
                )
            if version.sublevel == 0:
                return found(
                    Presence.ABSENT, f"{commit.key} came to mainline in {first}, after {version}", commit.source
                )
            return _unknown(
                commit,
                f"catalogue: {fact.source}",
                f"{version.branch}.y has {commit.key} by {fact.present_by}; since when is unknown",
                settle,
            )
        assert fact.surveyed_through is not None  # the schema asks for it on an absence
        if version <= fact.surveyed_through:
            return found(
                Presence.ABSENT,
                f"{version.branch}.y has no {commit.key} through {fact.surveyed_through}",
                fact.source,
                confidence,
            )
        return _unknown(
            commit,
            f"catalogue: {fact.source}",
            f"{version.branch}.y had no {commit.key} through {fact.surveyed_through}, the last release surveyed; {version} is newer",
            settle,
        )
    if version.sublevel == 0:
        return found(Presence.ABSENT, f"{commit.key} came to mainline in {first}, after {version}", commit.source)
    if commit.only_on_branch is not None:
        return found(Presence.ABSENT, f"{commit.key} is a commit of {commit.only_on_branch}.y only", commit.source)
    if commit.is_feature:
        return found(
            Presence.ABSENT,
            f"{commit.key} is a feature of {first}, and stable branches take no features",
            commit.source,
            min(sure, Confidence.MEDIUM),
        )
    return _unlisted_branch(catalog, commit, version, settle)


def _unlisted_branch(catalog: Catalog, commit: Commit, version: UpstreamVersion, settle: str) -> Evidence:
    """A fix on a branch that nobody surveyed: absent when the branch ended before the fix existed, else unknown."""
    branch = catalog.branches.get(version.branch)
    existed = catalog.existed_by(commit)
    if branch is not None and branch.ended is not None and branch.last is not None:
        if version > branch.last:
            detail = f"{version.branch}.y ended with {branch.last}, so {version} is not a release of kernel.org"
            return _unknown(commit, "catalogue: branches", detail, settle)
        if catalog.ended_before(version.branch, commit):
            detail = f"{version.branch}.y ended on {branch.ended} with {branch.last}, before {commit.key} existed ({existed} at the earliest)"
            return Evidence(
                EvidenceKind.RELEASE, commit.key, Presence.ABSENT, "catalogue: branches", detail, Confidence.MEDIUM
            )
    return _unknown(commit, "catalogue", f"nobody surveyed {version.branch}.y for {commit.key}", settle)


def _on_top(catalog: Catalog, commit: Commit, release: KernelRelease) -> Evidence:
    """The same for a kernel with unknown patches, or with unknown stable updates: what is there stays, the rest is open."""
    known_to_be_in = release.version if release.proof is Proof.PATCHED else release.version.base
    evidence = commit_in_release(catalog, commit, known_to_be_in)
    if evidence.presence is Presence.PRESENT:
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
    return _unknown(commit, evidence.citation, detail, settle)


def capability_in_release(
    capability: Capability, architecture: str, version: UpstreamVersion, vanilla_like: bool = True
) -> Evidence:
    """Whether an architecture could do something in a release, from the sources that were read."""
    start = capability.present_from.get(architecture)
    end = capability.absent_through.get(architecture)
    citation = f"catalogue: {capability.sources.get(architecture, 'no source read for this architecture')}"

    def found(presence: Presence, detail: str, settle: str | None = None) -> Evidence:
        return Evidence(
            EvidenceKind.RELEASE,
            capability.key,
            presence,
            citation,
            detail,
            Confidence.HIGH if presence is Presence.PRESENT else Confidence.MEDIUM,
            settle=settle,
            architecture=architecture,
        )

    if start is not None and version.base >= start:
        return found(Presence.PRESENT, f"{architecture} has it by {start}")
    # x86-64 has no release without it after `start`, so everything older is without.
    if vanilla_like and start is not None and (architecture == "x86_64" or (end is not None and version.base <= end)):
        return found(Presence.ABSENT, f"{architecture} is without it through {end or version.base}")
    return found(
        Presence.UNKNOWN,
        f"{capability.title.lower()}: nobody looked at {architecture} in {version.branch}",
        "grep -rn 'bpf_arch_text_poke' arch/*/net   in the sources that it was built from",
    )


def release_evidence(
    catalog: Catalog, release: KernelRelease, confidence: Confidence = Confidence.HIGH
) -> Iterator[Evidence]:
    """Yield what a release says about every commit and capability; `confidence` is the most that it is given."""
    limit = _lowered(confidence) if release.local else confidence
    newer = release.version.base > catalog.newest_mainline
    if newer:
        limit = min(limit, Confidence.MEDIUM)
    # A distribution's version does not tell its own patches, and one of them may be a fix that the release lacks. Debian's
    # versions are the exception: its changelogs were surveyed.
    own_patches = release.distro not in (None, "debian")
    for commit in catalog.commits.values():
        evidence = (
            commit_in_release(catalog, commit, release.version)
            if release.proof is Proof.EXACT
            else _on_top(catalog, commit, release)
        )
        absent = evidence.presence is Presence.ABSENT
        yield _capped(evidence, min(limit, Confidence.MEDIUM) if own_patches and absent else limit)
    for capability in catalog.capabilities.values():
        for architecture in ARCHITECTURES:
            yield _capped(capability_in_release(capability, architecture, release.version, release.vanilla_like), limit)


def _capped(evidence: Evidence, limit: Confidence) -> Evidence:
    if evidence.confidence <= limit:
        return evidence
    return evidence._replace(confidence=limit)


def _builds_match(fact: SeriesFact, release: KernelRelease) -> bool:
    ours = build_key(release.package or release.release)
    theirs = build_key(fact.start)
    if fact.exact:
        return ours == theirs
    return ours >= theirs if fact.present else ours <= theirs


def series_evidence(catalog: Catalog, release: KernelRelease) -> Iterator[Evidence]:
    """Yield what a distribution's own changelog proved about builds like this one."""
    for fact in catalog.series:
        if fact.distro != release.distro or fact.base != release.version.branch:
            continue
        if fact.distro == "debian" and release.package is None:
            continue  # an ABI number cannot be compared with a package version
        if fact.distro == "rhel" and f".{fact.series}" not in release.release:
            continue
        if _builds_match(fact, release):
            detail = f"{fact.series}: {fact.commit} {'from' if fact.present else 'not in'} {fact.start}"
            presence = Presence.PRESENT if fact.present else Presence.ABSENT
            sure = Confidence.MEDIUM if fact.note else Confidence.HIGH
            yield Evidence(EvidenceKind.SERIES, fact.commit, presence, fact.source, detail, sure)
