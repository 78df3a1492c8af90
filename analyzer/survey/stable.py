"""Surveys a clone of the stable tree: finds which releases of each branch have each commit of the catalogue.

The history is read once per branch, from its newest tag to its base release. Each backport, revert and re-application
counts from the earliest tag that contains it. Then the code at the newest tag is read with the signatures of the
catalogue. If history and code contradict each other, nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pygit2

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import shallow_commits, walk_batches
from tailcall_audit.analyzer.kernelfiles.loose_objects import BrokenObjectError, LooseObjects
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader, KeptBlobs
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.model import Evidence, Presence
from tailcall_audit.analyzer.readers.events import Walked, follow
from tailcall_audit.analyzer.readers.matching import Event, Matcher
from tailcall_audit.analyzer.readers.source import SourceReader
from tailcall_audit.analyzer.survey.mainline import mainline_claims
from tailcall_audit.analyzer.survey.releases import BranchTags, Earliest, read_tags, stable_branches
from tailcall_audit.analyzer.survey.types import Claim, Conflict, Kind, State, Survey, SurveyError
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = ["survey_stable"]

_MAX_COMMITS = 1_000_000


class _BranchSurvey(NamedTuple):
    """The result for one branch."""

    claims: tuple[Claim, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    notes: tuple[str, ...] = ()


class _Branch:
    """One stable branch of a clone while it is surveyed."""

    def __init__(
        self,
        catalog: Catalog,
        repository: pygit2.Repository,
        tags: BranchTags,
        source: str,
        is_based: bool,
        kept: KeptBlobs,
    ) -> None:
        """`is_based` is True if the base of the tags is mainline's release. `kept` are the files of the other tips."""
        self.kept = kept
        self.catalog = catalog
        self.is_based = is_based
        self.repository = repository
        self.tags = tags
        self.source = source
        self.newest, self.tip = tags.releases[-1]
        self.earliest = Earliest({commit: version for version, commit in tags.releases})

    def walked(self, progress: Callable[[str], None]) -> Walked:
        """Reads the history of the branch once."""
        batches = self.earliest.through(walk_batches(self.repository, self.tip, self.tags.base, _MAX_COMMITS))

        def report(count: int) -> None:
            progress(f"{self.tags.branch}.y: {count:,} commits")

        found = follow(
            batches, Matcher(self.catalog, self.tags.branch), self.tags.base, shallow_commits(self.repository), report
        )
        found.cut = found.cut or found.count >= _MAX_COMMITS
        return found

    def claim(self, commit: str, state: State, release: UpstreamVersion, name: str | None = None) -> Claim:
        """Returns a claim about this branch."""
        return Claim(commit, state, str(release), self.source, branch=self.tags.branch, id=name)

    def is_dated(self, release: UpstreamVersion) -> bool:
        """Returns True if the clone has the tag of the release before: what came between the two is new in this one."""
        before = release._replace(sublevel=release.sublevel - 1)
        return before.sublevel == 0 or any(version == before for version, _ in self.tags.releases)

    def release_of(self, event: Event) -> UpstreamVersion | None:
        """Returns the earliest release that contains an event's commit."""
        return self.earliest.of(event.id)


def _changes(
    branch: _Branch, key: str, events: Sequence[Event], starts_with: bool
) -> tuple[list[Claim], Conflict | None]:
    """Returns the claims about a commit that follow from its events, oldest first.

    `starts_with` is True if the base release has the commit. A commit that is reverted and applied again between two
    releases is in both. If one event cannot be interpreted, there is a conflict and no claims; so it is with the revert
    of a commit that nothing before it brings, which came in an unknown form. A commit that came after a release whose
    tag is missing is present by the next one; several changes around such a release make no claims.
    """
    by_release: dict[UpstreamVersion, Event] = {}
    present = starts_with
    for event in events:
        release = branch.release_of(event)
        if release is None:
            continue
        unseen = event.effect is False and not present
        if event.effect is None or unseen:
            words = f'{event.id[:12]} ("{event.subject}") in {release} {event.how}'
            return [], Conflict(
                key, f"{branch.tags.branch}.y", f"{words}, and nothing before it brings it" if unseen else words
            )
        present = event.effect
        by_release[release] = event  # the last one before a release decides
    claims: list[Claim] = []
    there = starts_with
    for release in sorted(by_release):
        event = by_release[release]
        if event.effect is not there:
            there = bool(event.effect)
            state = State.PRESENT_FROM if there else State.REVERTED_IN
            claims.append(branch.claim(key, state, release, event.id))
    return _dated(branch, key, claims)


def _dated(branch: _Branch, key: str, claims: list[Claim]) -> tuple[list[Claim], Conflict | None]:
    """Returns the claims about a commit, as far as the tags of the clone say in which release it came."""
    undated = [claim for claim in claims if not branch.is_dated(parse_version(claim.release))]
    if not undated:
        return claims, None
    if [claim.state for claim in claims] == [State.PRESENT_FROM]:
        return [claims[0]._replace(state=State.PRESENT_BY)], None
    words = (
        f"it changes more than once, and the tag of the release before {undated[0].release} is not in this clone"
        " (git fetch --tags)"
    )
    return [], Conflict(key, f"{branch.tags.branch}.y", words)


def _with_mainline_base(catalog: Catalog, repository: pygit2.Repository, tags: BranchTags) -> tuple[BranchTags, bool]:
    """Returns the tags with mainline's own commit as the base, if the catalogue knows it. A tag can be moved, and the
    commits between the two would then be called absent. The second value is False if the clone does not have the base:
    then the tag ends the walk and proves no absence.
    """
    branch = catalog.branches.get(tags.branch)
    known = None if branch is None else branch.mainline
    if known is None:
        return tags, tags.base is not None
    return (tags._replace(base=known), True) if known in repository else (tags, False)


def _base_has(commit: Commit, branch: BranchTags) -> bool:
    base = branch.releases[0][0].base
    return commit.first_release <= base and commit.only_on_branch is None


def _why_incomplete(branch: _Branch, walked: Walked) -> str | None:
    name = branch.tags.branch
    if not branch.is_based:
        return f"{name}.y: mainline's commit of v{name} is not in this clone, so nothing is claimed to be absent (git fetch --tags)"
    if walked.broken is not None:
        return f"{name}.y: the history breaks off after {walked.count:,} commits: {walked.broken}"
    if walked.cut:
        return f"{name}.y: a shallow clone, cut after {walked.count:,} commits: nothing is claimed to be absent"
    if not walked.base_met:
        return f"{name}.y: v{name} is not an ancestor of v{branch.newest}: nothing is claimed to be absent"
    return None


def _against_code(
    claims: list[Claim], branch: _Branch, commit: Commit, seen: Evidence
) -> tuple[list[Claim], Conflict | None]:
    """Compares the claims from the history with the code of the newest release."""
    last = claims[-1] if claims else None
    present = last is not None and last.state in (State.PRESENT_FROM, State.PRESENT_BY)
    history = "present" if present else "absent"
    if seen.presence is Presence.UNKNOWN:
        if seen.unreadable:  # a clone without its files does not contradict the history
            return claims, None
        if last is not None and last.state is State.REVERTED_IN:  # it may have come back in another form since
            words = f"{commit.key} is reverted in {last.release} by the history, and its code in {branch.newest} has an unknown form"
            return [], Conflict(commit.key, f"{branch.tags.branch}.y", words)
        kept = [claim for claim in claims if claim.state is not State.ABSENT_THROUGH]
        return kept, None
    if (seen.presence is Presence.PRESENT) is present or last is None:
        return claims, None
    words = f"{commit.key} is {history} by the history of {branch.newest}, and {seen.presence.value} by its code: {seen.detail}"
    return [], Conflict(commit.key, f"{branch.tags.branch}.y", words)


def _survey_branch(branch: _Branch, progress: Callable[[str], None]) -> _BranchSurvey:
    walked = branch.walked(progress)
    gap = _why_incomplete(branch, walked)
    events = walked.ordered()
    answers: dict[str, tuple[list[Claim], Conflict | None]] = {}
    for key, commit in branch.catalog.commits.items():
        based = _base_has(commit, branch.tags)
        if based and key not in events:
            continue
        found, conflict = _changes(branch, key, events.get(key, ()), based)
        if not found and conflict is None and gap is None and not based:
            found = [branch.claim(key, State.ABSENT_THROUGH, branch.newest)]
        answers[key] = found, conflict
    progress(f"{branch.tags.branch}.y: reading the code of {branch.newest}")
    # The code only checks claims: no code is read for a commit without claims.
    code = _code(branch, frozenset(key for key, (found, _) in answers.items() if found))
    for key, seen in code.items():
        answers[key] = _against_code(answers[key][0], branch, branch.catalog.commits[key], seen)
    return _BranchSurvey(
        tuple(claim for found, _ in answers.values() for claim in found),
        tuple(conflict for _, conflict in answers.values() if conflict is not None),
        () if gap is None else (gap,),
    )


def _code(branch: _Branch, keys: frozenset[str]) -> dict[str, Evidence]:
    """Returns the evidence of these commits' signatures at the newest release. In a clone without its files the
    evidence is unreadable and withdraws no claim.
    """
    if not keys:
        return {}
    with pygit2_errors(SurveyError):
        commit = branch.repository[branch.tip].peel(pygit2.Commit)
    reader = SourceReader(BlobReader(branch.repository, commit, kept=branch.kept), version=branch.newest)
    return {item.commit: item for item in reader.evidence(branch.catalog, keys)}


def survey_stable(
    catalog: Catalog,
    repository: pygit2.Repository,
    name: str,
    date: str,
    branches: Sequence[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Survey:
    """Surveys the stable branches of a clone, or only `branches`. `name` is the name of the source, `date` the day of
    the survey.

    Raises SurveyError if the clone cannot be read, or has no release of a stable branch.
    """
    try:
        LooseObjects(repository).check_all()
    except BrokenObjectError as error:
        raise SurveyError(f"{name}: {error}") from error
    notes: list[str] = []
    claims = list(mainline_claims(catalog, repository, name, notes, progress)) if not branches else []
    conflicts: list[Conflict] = []
    reach: dict[str, str] = {}
    kept = KeptBlobs()
    for found_tags in stable_branches(read_tags(repository)):
        tags, is_based = _with_mainline_base(catalog, repository, found_tags)
        if branches and tags.branch not in branches:
            continue
        newest, tip = tags.releases[-1]
        branch = _Branch(catalog, repository, tags, f"GIT {name} v{newest} ({tip[:12]})", is_based, kept)
        found = _survey_branch(branch, progress)
        reach[tags.branch] = str(newest)
        claims += found.claims
        conflicts += found.conflicts
        notes += found.notes
    if not reach:
        wanted = f" of {', '.join(branches)}" if branches else ""
        raise SurveyError(f"{name}: no tag of a stable release{wanted} (git fetch --tags   in that clone)")
    notes += [
        f"{wanted}.y: no tag of a release of it in this clone (git fetch --tags)"
        for wanted in dict.fromkeys(branches)
        if wanted not in reach
    ]
    source = f"the tags of {name}"
    return Survey(Kind.STABLE, "stable", source, date, reach, tuple(claims), tuple(conflicts), tuple(notes))
