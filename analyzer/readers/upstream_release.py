"""Evidence from a release of kernel.org that has nothing on top of it, about commits and capabilities, by the catalogue's
survey of mainline and of the stable branches.
"""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.commit import BranchFact, Commit
from tailcall_audit.analyzer.catalog.types import Capability, Catalog
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.changes import changed_in_release
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["capability_in_release", "commit_in_release", "lowered", "unknown_in_release"]


def lowered(confidence: Confidence) -> Confidence:
    """Returns the confidence below; low stays low."""
    return Confidence(max(confidence - 1, Confidence.LOW))


def unknown_in_release(commit: Commit, citation: str, detail: str, settle: str | None) -> Evidence:
    """Returns the evidence that a release leaves a commit open."""
    return Evidence(EvidenceKind.RELEASE, commit.key, Presence.UNKNOWN, citation, detail, Confidence.LOW, settle=settle)


class _InRelease:
    """Makes the evidence about a commit in an upstream release that has nothing on top of it."""

    def __init__(self, commit: Commit, version: UpstreamVersion) -> None:
        self.commit = commit
        self.version = version
        self.sure = Confidence.MEDIUM if commit.unverified else Confidence.HIGH

    @property
    def settle(self) -> str:
        """The command that settles what is open."""
        return f"tailcall-audit --tree PATH --rev v{self.version}   on a clone of the stable tree that has this release"

    def found(
        self, presence: Presence, detail: str, confidence: Confidence | None = None, fact: BranchFact | None = None
    ) -> Evidence:
        """Returns the evidence, with the source of a fact about the branch if one is given, else with the commit's."""
        guessed = fact is not None and fact.unverified is not None
        if confidence is None:
            confidence = lowered(self.sure) if guessed and self.sure is Confidence.HIGH else self.sure
        return Evidence(
            EvidenceKind.RELEASE,
            self.commit.key,
            presence,
            f"catalogue: {self.commit.source if fact is None else fact.source}",
            detail,
            confidence,
            settle=self.settle if guessed else None,
            guessed=guessed,
            basis=self.commit.basis if fact is None else fact.basis,
        )

    def unknown(self, detail: str, source: str) -> Evidence:
        return unknown_in_release(self.commit, f"catalogue: {source}", detail, self.settle)

    def before_mainline(self) -> Evidence:
        detail = f"{self.commit.key} came to mainline in {self.commit.first_release}, after {self.version}"
        return self.found(Presence.ABSENT, detail)

    def by_fact(self, fact: BranchFact) -> Evidence:
        """Returns the evidence from what a survey found on the release's branch."""
        version, key, branch = self.version, self.commit.key, f"{self.version.branch}.y"
        if fact.backported and fact.release is not None:
            presence = Presence.PRESENT if version >= fact.release else Presence.ABSENT
            return self.found(presence, f"{branch} has {key} since {fact.release}", fact=fact)
        if fact.present_by is not None:
            if version >= fact.present_by:
                return self.found(Presence.PRESENT, f"{branch} has {key} by {fact.present_by}", fact=fact)
            if version.sublevel == 0:
                return self.before_mainline()
            if fact.surveyed_through is not None and version <= fact.surveyed_through:
                return self.found(Presence.ABSENT, f"{branch} has no {key} through {fact.surveyed_through}", fact=fact)
            return self.unknown(f"{branch} has {key} by {fact.present_by}; since when is unknown", fact.source)
        assert fact.surveyed_through is not None  # the schema requires it for an absence
        if version <= fact.surveyed_through:
            return self.found(Presence.ABSENT, f"{branch} has no {key} through {fact.surveyed_through}", fact=fact)
        last = f"{fact.surveyed_through}, the last release surveyed; {version} is newer"
        return self.unknown(f"{branch} had no {key} through {last}", fact.source)


def commit_in_release(catalog: Catalog, commit: Commit, version: UpstreamVersion) -> Evidence:
    """Returns the evidence that an upstream release, with nothing on top of it, gives about a commit."""
    first, case = commit.first_release, _InRelease(commit, version)
    fact = commit.branches.get(version.branch)
    if fact is not None and fact.changes and version.rc is None:
        return changed_in_release(commit, fact, version, case.settle)
    if first <= version.base and commit.only_on_branch is None:
        return case.found(Presence.PRESENT, f"{commit.key} is in mainline since {first}")
    if version.rc is not None and first == version._replace(rc=None):
        # The catalogue names a release candidate only where one was seen with the commit.
        return case.unknown(f"{commit.key} is in {first}; from which release candidate on is unknown", commit.source)
    if fact is not None:
        return case.by_fact(fact)
    if version.sublevel == 0:
        return case.before_mainline()
    if commit.only_on_branch is not None:
        return case.found(Presence.ABSENT, f"{commit.key} is a commit of {commit.only_on_branch}.y only")
    if commit.is_feature:
        detail = f"{commit.key} is a feature of {first}, and stable branches take no features"
        return case.found(Presence.ABSENT, detail, min(case.sure, Confidence.MEDIUM))
    return _unlisted_branch(catalog, commit, version, case.settle)


def _unlisted_branch(catalog: Catalog, commit: Commit, version: UpstreamVersion, settle: str) -> Evidence:
    """Returns the evidence about a fix on a branch that was not surveyed: absent if the branch ended before the fix
    existed, else unknown.
    """
    branch = catalog.branches.get(version.branch)
    existed = catalog.existed_by(commit)
    if branch is not None and branch.ended is not None and branch.last is not None:
        if version > branch.last:
            detail = f"{version.branch}.y ended with {branch.last}, so {version} is not a release of kernel.org"
            return unknown_in_release(commit, "catalogue: branches", detail, settle)
        if catalog.ended_before(version.branch, commit):
            detail = f"{version.branch}.y ended on {branch.ended} with {branch.last}, before {commit.key} existed ({existed} at the earliest)"
            return Evidence(
                EvidenceKind.RELEASE, commit.key, Presence.ABSENT, "catalogue: branches", detail, Confidence.MEDIUM
            )
    return unknown_in_release(commit, "catalogue", f"{version.branch}.y was not surveyed for {commit.key}", settle)


def capability_in_release(
    capability: Capability, architecture: str, version: UpstreamVersion, vanilla_like: bool = True
) -> Evidence:
    """Returns the evidence about a capability of an architecture in a release, from the sources that were read."""
    entry = capability.entry(architecture)
    start = capability.present_from.get(entry)
    end = capability.absent_through.get(entry)
    citation = f"catalogue: {capability.sources.get(entry, 'no source read for this architecture')}"

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
    if vanilla_like and end is not None and version.base <= end:
        return found(Presence.ABSENT, f"{architecture} is without it through {end}")
    return found(
        Presence.UNKNOWN,
        f"{capability.title.lower()}: {architecture} was not looked at in {version.branch}",
        f"{capability.settle}   in the sources that it was built from",
    )
