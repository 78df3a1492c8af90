"""Evidence from a git history: a commit is an ancestor or a backport, and may have been reverted afterwards.

One bounded pass over ``base..head`` collects the commits that matter; their order decides. The ancestors of the base
release are present by descent. An absence is claimed only if the whole range was seen and the base is an ancestor of
the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pygit2

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import WalkError, first_parent_subjects, shallow_commits, walk_batches
from tailcall_audit.analyzer.kernelfiles.loose_objects import LooseObjects
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.events import Walked, follow
from tailcall_audit.analyzer.readers.matching import Event, Matcher
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.git_repository import TreeError
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["Base", "History", "read", "read_history"]

_MAX_COMMITS = 1_000_000
"""More commits than any ``base..head`` has: 6.1.170 is 36,000 commits after 6.1, and a merge window has some 14,000."""
_MAX_WITHOUT_BASE = 100_000
_MAX_FIRST_PARENTS = 150_000


@dataclass(frozen=True)
class Base:
    """The mainline release that the audited history starts from: its version, commit, and how it was found."""

    version: UpstreamVersion
    commit: str
    how: str


@dataclass(frozen=True)
class History:
    """The outcome: evidence about every commit of the catalogue, and notes for the user about the walk."""

    evidence: tuple[Evidence, ...]
    base: Base | None
    walked: int
    complete: bool
    notes: tuple[str, ...]


def _mainline_id(catalog: Catalog, base: UpstreamVersion) -> str | None:
    branch = catalog.branches.get(base.branch)
    return None if branch is None or base.rc is not None or base.sublevel else branch.mainline


def _check_tag(repository: pygit2.Repository, name: str) -> None:
    """Raises BrokenObjectError if a tag or what it names is a loose object that is cut off."""
    loose = LooseObjects(repository)
    loose.check(name)
    found = repository[name]
    if isinstance(found, pygit2.Tag):
        loose.check(str(found.target))


def _find_base(repository: pygit2.Repository, head: str, version: UpstreamVersion, catalog: Catalog) -> Iterator[Base]:
    """Yields the candidates for the base release, best first: the tag of the Makefile's release, then the commit that
    made it.
    """
    base = (
        catalog.previous_mainline(version) if version.rc is not None else UpstreamVersion(version.major, version.minor)
    )
    if base is None:
        return
    try:
        with pygit2_errors(WalkError):
            tagged = repository.references.get(f"refs/tags/v{base}")
            if tagged is not None:
                _check_tag(repository, str(tagged.resolve().target))
            name = None if tagged is None else str(tagged.peel(pygit2.Commit).id)
    except WalkError:
        name = None  # a tag whose commit is not in this clone: the walk below may still find it by its subject
    known = _mainline_id(catalog, base)
    if name is not None and known in (None, name):
        yield Base(base, name, f"tag v{base}")
    if known is not None:
        # The tag may be missing, or moved; mainline's own commit is the base wherever it is an ancestor.
        if name != known and known in repository:
            yield Base(base, known, f"mainline's commit of v{base}")
        return
    wanted = f"Linux {base}".encode()
    try:
        for name, subject in first_parent_subjects(repository, head, _MAX_FIRST_PARENTS):
            if subject.strip() == wanted:
                yield Base(base, name, f'commit "Linux {base}"')
                return
    except WalkError:
        return


def _walk(
    repository: pygit2.Repository, head: str, base: Base | None, matcher: Matcher, progress: Callable[[str], None]
) -> Walked:
    if base is not None and base.commit == head:
        return Walked(matcher, base_met=True)
    limit = _MAX_WITHOUT_BASE if base is None else _MAX_COMMITS
    commit = None if base is None else base.commit
    batches = walk_batches(repository, head, commit, limit)
    walked = follow(
        batches,
        matcher,
        commit,
        shallow_commits(repository),
        lambda count: progress(f"reading the history: {count:,} commits"),
    )
    walked.cut = walked.cut or walked.count >= limit
    return walked


def _why_incomplete(
    repository: pygit2.Repository, base: Base | None, walked: Walked, version: UpstreamVersion, known: str | None
) -> tuple[str, str | None] | None:
    """Returns why an absence proves nothing here, and the command that mends this; None if the whole range was seen."""
    deepen = "git fetch --unshallow --tags   in that clone"
    if walked.broken is not None:
        return (
            f"the history breaks off after {walked.count:,} commits: {walked.broken}",
            "git fsck --connectivity-only   in that repository",
        )
    if base is not None and walked.base_met and not walked.cut:
        return None
    if walked.count <= 1 and base is None and not repository.is_shallow:
        return "a dump of one commit, which says nothing of where its code is from", None
    if walked.cut and repository.is_shallow:
        return f"a shallow clone, cut after {walked.count:,} commits", deepen
    if base is None and known is not None:
        return (
            f"mainline's commit of v{version.branch} ({known[:12]}) is not in this history, whatever its tags are (a rewritten import?)",
            "git fetch --tags   in that clone, from a remote with mainline's own commits",
        )
    if base is None:
        return (
            f"neither tag v{version.branch} nor a commit that made it is in this history",
            "git fetch --tags   in that clone, from a remote with the mainline tags",
        )
    return (
        f"{base.how} is not an ancestor of what is audited",
        f"git merge-base v{version.branch} HEAD   in that repository",
    )


def _event_evidence(events: list[Event]) -> Evidence:
    last = events[-1]
    citation = f'{last.id[:12]} ("{last.subject}")'
    if last.effect is None:
        return Evidence(
            EvidenceKind.HISTORY,
            last.key,
            Presence.UNKNOWN,
            citation,
            f"{citation} {last.how}",
            Confidence.LOW,
            settle=f"git show {last.id[:12]}",
        )
    presence = Presence.PRESENT if last.effect else Presence.ABSENT
    detail = f"{citation} {last.how}"
    conditional = last.conditional
    if conditional:
        detail += ", with conflicts resolved"
    if last.effect and last.is_revert:
        applied = next((event for event in events if event.effect and not event.is_revert), last)
        conditional = applied.conditional
    settle = f"git show {last.id[:12]}   and compare it with {last.key}" if conditional else None
    return Evidence(EvidenceKind.HISTORY, last.key, presence, citation, detail, last.confidence, conditional, settle)


def _evidence(
    commit: Commit,
    events: list[Event],
    base: Base | None,
    walked: Walked,
    gap: tuple[str, str | None] | None,
    head: str,
) -> Evidence:
    if events:
        return _event_evidence(events)
    if base is not None and walked.base_met and commit.first_release <= base.version and commit.only_on_branch is None:
        citation = f"v{base.version} ({base.how}, {base.commit[:12]})"
        detail = f"in mainline since {commit.first_release}, and {base.how} is an ancestor"
        return Evidence(
            EvidenceKind.HISTORY,
            commit.key,
            Presence.PRESENT,
            citation,
            detail,
            Confidence.MEDIUM if commit.unverified else Confidence.HIGH,
        )
    if gap is None:
        assert base is not None
        span = f"{base.commit[:12]}..{head[:12]}"
        detail = f"not among the {walked.count:,} commits of v{base.version}..{head[:12]}"
        return Evidence(EvidenceKind.HISTORY, commit.key, Presence.ABSENT, span, detail, Confidence.MEDIUM)
    reason, settle = gap
    return Evidence(
        EvidenceKind.HISTORY,
        commit.key,
        Presence.UNKNOWN,
        head[:12],
        f"not found in the history, which is not whole: {reason}",
        Confidence.LOW,
        settle=settle,
        unreadable=True,
    )


def read_history(
    catalog: Catalog,
    repository: pygit2.Repository,
    head: str,
    version: UpstreamVersion | None,
    progress: Callable[[str], None] = lambda _: None,
) -> History:
    """Reads the history of `head` once; `version` is the Makefile's, None when it could not be read. Raises nothing."""
    branch = "" if version is None else version.branch
    matcher = Matcher(catalog, branch)
    base: Base | None = None
    walked: Walked | None = None
    for candidate in () if version is None else _find_base(repository, head, version, catalog):
        progress(f"reading the history since {candidate.how}")
        base, walked = candidate, _walk(repository, head, candidate, matcher, progress)
        if walked.base_met:
            break
    if walked is None:
        progress("reading the history, without a base")
        walked = _walk(repository, head, None, matcher, progress)
    known = None if version is None else _mainline_id(catalog, UpstreamVersion(version.major, version.minor))
    gap = _why_incomplete(repository, base, walked, version or UpstreamVersion(0, 0), known)
    by_key = walked.ordered()
    evidence = tuple(
        _evidence(commit, by_key.get(key, []), base, walked, gap, head) for key, commit in catalog.commits.items()
    )
    notes = (
        []
        if gap is None
        else [f"history: {gap[0]}; what is not found in it is unknown, not absent{f' ({gap[1]})' if gap[1] else ''}"]
    )
    if gap is None and base is not None:
        notes.append(f"history: {walked.count:,} commits since {base.how} ({base.commit[:12]})")
    return History(evidence, base, walked.count, gap is None, tuple(notes))


def read(subject: Subject, request: Request) -> Reading:
    """Reads the history of a tree, if it has one. Runs in a thread of its own, so it opens a repository of its own."""
    opened = subject.parts.tree
    assert opened is not None  # the registry's condition
    tree = opened.tree
    if tree.repository is None or tree.commit is None:
        return Reading()
    # A handle of libgit2 belongs to one thread.
    with pygit2_errors(lambda words: TreeError(f"{tree.root}: its git repository cannot be opened: {words}")):
        repository = pygit2.Repository(tree.repository.path)
    history = read_history(request.catalog, repository, str(tree.commit.id), opened.identity.version, request.progress)
    return Reading(history.evidence, history.notes)
