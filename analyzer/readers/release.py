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
from tailcall_audit.analyzer.readers.changes import reverted_after, was_there
from tailcall_audit.analyzer.readers.reach import taught
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

_SURE: Memory[tuple[UpstreamVersion, Confidence], dict[str, Evidence]] = Memory(500)
_ABLE: Memory[tuple[UpstreamVersion, bool, Confidence], tuple[Evidence, ...]] = Memory(500)
_ALIKE: Memory[tuple[object, ...], Evidence] = Memory(20_000)
_BUILDS: Memory[KernelRelease, tuple[dict[str, Evidence], ...]] = Memory(1)
_SURVEYED: Memory[str, Catalog | None] = Memory(500)


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
    detail = f"{commit.key} came to mainline in {commit.first_release}; {release.called} is a snapshot behind {release.version}, and may have it"
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
    is_absent = {first.presence, last.presence} == {Presence.ABSENT} and not was_there(commit, branch.name)
    if not is_absent or commit.key in series.adds:
        return None
    detail = f"no release of {branch.name}.y through its last, {branch.last} ({branch.ended}), has {commit.key}, and {series.source}, read whole, adds none"
    return last._replace(detail=detail, confidence=min(last.confidence, Confidence.MEDIUM))


def _in_packages(catalog: Catalog, commit: Commit, release: KernelRelease) -> Evidence | None:
    """Returns the evidence on which all packages that an ABI number may name agree."""
    if not release.builds:
        return None
    found = [
        facts.get(commit.key) or commit_in_release(catalog, commit, build.version)
        for build, facts in zip(release.builds, _series_of_builds(catalog, release), strict=True)
    ]
    if len({item.presence for item in found}) > 1 or found[0].presence is Presence.UNKNOWN:
        return None
    names = " to ".join(dict.fromkeys((release.builds[0].package, release.builds[-1].package)))
    detail = f"{release.called} is the package {names} by its ABI number ({release.builds_source}); {found[0].detail}"
    confidence = min(*(item.confidence for item in found), Confidence.MEDIUM)
    guessed = any(item.guessed for item in found)
    return found[0]._replace(kind=EvidenceKind.RELEASE, detail=detail, confidence=confidence, guessed=guessed)


def _series_of_builds(catalog: Catalog, release: KernelRelease) -> tuple[dict[str, Evidence], ...]:
    """Returns what is known of each package that an ABI number may name, by commit. It is asked for every commit of the
    release.
    """
    known = _BUILDS.of(catalog)
    if release not in known:
        named = (release._replace(package=build.package, version=build.version, builds=()) for build in release.builds)
        known[release] = tuple(_by_commit(series_evidence(catalog, item)) for item in named)
    return known[release]


def _by_commit(found: Iterable[Evidence]) -> dict[str, Evidence]:
    """Returns evidence by the commit that it is about: the least sure of what agrees, and what is unknown where facts
    contradict each other.
    """
    known: dict[str, Evidence] = {}
    for item in found:
        other = known.setdefault(item.commit, item)
        if other.presence is not item.presence:
            known[item.commit] = other._replace(presence=Presence.UNKNOWN, confidence=Confidence.LOW)
        elif item.confidence < other.confidence:
            known[item.commit] = item
    return known


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
            f"{release.called} proves {release.version.branch} and not which stable updates are in; {evidence.detail}"
        )
    else:
        who = (
            f"{release.called} ({' '.join(release.modified)})" if release.modified else release.distro or "this kernel"
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
    limit = _limit(catalog, release, confidence)
    yield from _about_commits(catalog, release, limit, catalog.commits.values())
    if release.proof is not Proof.NOTHING:
        yield from _capabilities(catalog, release, limit)


def _limit(catalog: Catalog, release: KernelRelease, confidence: Confidence) -> Confidence:
    """Returns the most confidence that a release is given, of the most that its subject allows."""
    limit = lowered(confidence) if release.local else confidence
    return min(limit, Confidence.MEDIUM) if release.version.base > catalog.newest_mainline else limit


def _about_commits(
    catalog: Catalog, release: KernelRelease, limit: Confidence, commits: Iterable[Commit]
) -> Iterator[Evidence]:
    sure = _surely_in(catalog, release, limit)
    # A version does not show its vendor's patches, and one of them may be a fix that the release lacks.
    absent = min(limit, Confidence.MEDIUM) if release.own_patches else limit
    answer = _in_alike if release.shown is not None and release.proof is Proof.EXACT else _answer
    for commit in commits:
        known = sure.get(commit.key)
        yield answer(catalog, commit, release, limit, absent) if known is None else known


def _answer(
    catalog: Catalog, commit: Commit, release: KernelRelease, limit: Confidence, absent: Confidence
) -> Evidence:
    """Returns the evidence about one commit, with at most this confidence that it is there and that it is absent."""
    exact = release.proof is Proof.EXACT
    found = commit_in_release(catalog, commit, release.version) if exact else _on_top(catalog, commit, release)
    return _finished(found, absent if found.presence is Presence.ABSENT else limit, Basis("", catalog.date))


def _in_alike(
    catalog: Catalog, commit: Commit, release: KernelRelease, limit: Confidence, absent: Confidence
) -> Evidence:
    """Returns the same for a release of kernel.org without a name of its own: one object for all that are alike."""
    from tailcall_audit.analyzer.readers.alike import place_about

    known = _ALIKE.of(catalog)
    key = (commit.key, release.version.base, limit, absent, place_about(catalog, commit, release.version))
    if key not in known:
        known[key] = _answer(catalog, commit, release, limit, absent)
    return known[key]


def _surely_in(catalog: Catalog, release: KernelRelease, limit: Confidence) -> dict[str, Evidence]:
    """Returns the evidence about the commits that mainline had at the release's base: the same for all of a branch."""
    if release.proof is Proof.NOTHING or release.builds:
        return {}
    known, base = _SURE.of(catalog), release.version.base
    if (base, limit) not in known:
        catalogue = Basis("", catalog.date)
        known[base, limit] = {
            commit.key: _finished(commit_in_release(catalog, commit, base), limit, catalogue)
            for commit in catalog.commits.values()
            if commit.first_release <= base and commit.only_on_branch is None
            if base.branch not in commit.branches or not commit.branches[base.branch].changes
        }
    return known[base, limit]


def _capabilities(catalog: Catalog, release: KernelRelease, limit: Confidence) -> tuple[Evidence, ...]:
    """Returns the evidence about every capability on every architecture: the same for all of a branch."""
    known, key = _ABLE.of(catalog), (release.version.base, release.vanilla_like, limit)
    if key not in known:
        catalogue = Basis("", catalog.date)
        known[key] = tuple(
            _finished(capability_in_release(capability, architecture, *key[:2]), limit, catalogue)
            for capability in catalog.capabilities.values()
            for architecture in ARCHITECTURES
        )
    return known[key]


def _finished(evidence: Evidence, limit: Confidence, catalogue: Basis) -> Evidence:
    """Returns the evidence with at most this confidence, and with the catalogue as what it rests on if it rests on no
    survey.
    """
    basis, confidence = evidence.basis or catalogue, min(evidence.confidence, limit)
    if basis is evidence.basis and confidence is evidence.confidence:
        return evidence
    return evidence._replace(confidence=confidence, basis=basis)


def _with_shipped_branches(catalog: Catalog, branch: str) -> Catalog | None:
    """Returns the catalogue with what the shipped surveys say about commits on a branch; None if they say nothing.

    A fact from the user's own survey stays. A catalogue that is not the shipped one has no shipped surveys.
    """
    if catalog.path != default_catalog_path():
        return None
    answers = _SURVEYED.of(catalog)
    if branch not in answers:
        known = {
            key: fact
            for key in catalog.commits
            if (fact := shipped_branches().get(key, {}).get(branch)) is not None
            and ((there := catalog.commits[key].branches.get(branch)) is None or there.survey is None)
        }
        commits = {
            key: commit._replace(branches={**commit.branches, branch: known[key]}) if key in known else commit
            for key, commit in catalog.commits.items()
        }
        answers[branch] = catalog._replace(commits=commits) if known else None
    return answers[branch]


def _with_sources_at_hand(catalog: Catalog, item: Evidence) -> Evidence:
    """Returns an open question about a commit with the sources at hand as what settles it; other items as they are."""
    commit = catalog.commits.get(item.commit)
    if item.presence is not Presence.UNKNOWN or commit is None:
        return item
    return item._replace(settle=f"tailcall-audit explain {commit.key}   and compare with {', '.join(commit.files)}")


def read(subject: Subject, request: Request) -> Reading:
    """Reads what the subject's release proves."""
    release, catalog = subject.release, request.catalog
    assert release is not None  # the registry's condition
    found: Iterable[Evidence] = tuple(release_evidence(catalog, release, subject.confidence))
    open_ones = [item.commit for item in found if item.presence is Presence.UNKNOWN and item.commit in catalog.commits]
    surveyed = _with_shipped_branches(catalog, release.version.branch) if open_ones else None
    if surveyed is not None:
        commits = [surveyed.commits[key] for key in open_ones]
        limit = _limit(surveyed, release, subject.confidence)
        again = {item.commit: item for item in _about_commits(surveyed, release, limit, commits)}
        found = [again.get(item.commit, item) for item in found]
    if open_ones and release.distro is not None:
        found = taught(catalog, found, release)
    if subject.parts.tree is not None:
        found = (_with_sources_at_hand(catalog, item) for item in found)
    return Reading(tuple(found))
