"""What a git history says: is a commit there, as an ancestor or as a backport, and was it reverted afterwards?

One bounded pass over ``base..head`` collects the commits that matter; their order decides. What is in the base release is
there by descent. An absence is claimed only when the whole range was seen and the base is an ancestor of the head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pygit2

from analyzer.catalog import Catalog, Commit
from analyzer.evidence.messages import find_reverts, find_trailers, has_conflicts, normalize_subject, unwrap_revert
from analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from analyzer.tree.walk import Record, WalkError, first_parent_subjects, shallow_commits, walk
from analyzer.version import UpstreamVersion

__all__ = ["Base", "History", "read_history"]

_MAX_COMMITS = 1_000_000
"""More than any ``base..head`` has: 6.1.170 is 36,000 commits after 6.1, a merge window some 14,000."""
_MAX_WITHOUT_BASE = 100_000
_MAX_FIRST_PARENTS = 150_000
_SUBJECT_LENGTH = 120
_MENTIONED = re.compile(rb"ommit:?[ \t]+([0-9a-f]{12})")
_ODD_STARTS = (
    b"UPSTREAM",
    b"BACKPORT",
    b"FROM",
    b"[",
    b"upstream",
    b"mainline",
    b'Revert "',
    b'Reapply "',
    b" ",
    b"\t",
    b"\r",
    b"\f",
    b"\v",
)
_ODD_ENDS = (b".", b" ", b"\t", b"\r")


@dataclass(frozen=True)
class Base:
    """The mainline release that the audited history starts from: its version, commit, and how it was found."""

    version: UpstreamVersion
    commit: str
    how: str


@dataclass(frozen=True)
class History:
    """The outcome: evidence about every commit of the catalogue, and what the reader should know about the walk."""

    evidence: tuple[Evidence, ...]
    base: Base | None
    walked: int
    complete: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Event:
    """A commit of the walk that applies (`effect` True), reverts (False) or half-reverts (None) a commit of the catalogue."""

    id: str
    subject: str
    key: str
    effect: bool | None
    how: str
    confidence: Confidence
    conditional: bool = False


@dataclass(frozen=True)
class _PendingRevert:
    """A revert whose target is known by an id of this tree only: it is resolved when the older commits have been seen."""

    id: str
    subject: str
    targets: tuple[str, ...]
    partial: bool


def _printable(text: str, limit: int = _SUBJECT_LENGTH) -> str:
    cleaned = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[: limit + 1])
    return cleaned if len(cleaned) <= limit else cleaned[:limit] + "…"


class _Matcher:
    """Recognises the catalogue's commits in messages."""

    def __init__(self, catalog: Catalog, branch: str) -> None:
        self._by_id: dict[str, str] = {}
        self._by_subject: dict[str, str] = {}
        self.exceptions = {(normalize_subject(entry.subject), entry.commit): entry for entry in catalog.not_fixes}
        self.cosmetic = {(normalize_subject(entry.subject), entry.commit): entry for entry in catalog.cosmetic_reverts}
        for key, commit in catalog.commits.items():
            if commit.only_on_branch not in (None, branch):
                self._by_id.setdefault(key, key)  # its own id says what it is on any branch, its subject does not
                continue
            for name in (commit.id, *commit.aliases, *(fact.id for fact in commit.branches.values() if fact.id)):
                self._by_id.setdefault(name[:12], key)
            self._by_subject.setdefault(normalize_subject(commit.subject), key)
        self._id_bytes = {name.encode() for name in self._by_id}
        self._subject_bytes = {commit.subject.encode() for commit in catalog.commits.values()}
        self._full = {commit.id[:12]: commit.id for commit in catalog.commits.values()}
        self._full |= {
            fact.id[:12]: fact.id for commit in catalog.commits.values() for fact in commit.branches.values() if fact.id
        }

    def key(self, name: str) -> str | None:
        """The commit that an id of 12 or more digits names, resolved against the catalogue only."""
        key = self._by_id.get(name[:12])
        full = self._full.get(name[:12], "")
        shorter = min(len(name), len(full))
        return key if key is not None and name[:shorter] == full[:shorter] else None

    def subject(self, subject: str) -> str | None:
        """The commit that has this subject, compared as a whole."""
        return self._by_subject.get(normalize_subject(subject))

    def may_matter(self, record: Record) -> bool:
        """Whether `read` can find something in a commit: a test on bytes, since a stable branch has tens of thousands."""
        message = record.message
        mentioned = _MENTIONED.findall(message)
        if mentioned and not self._id_bytes.isdisjoint(mentioned):
            return True
        subject = message.partition(b"\n")[0]
        if subject in self._subject_bytes or record.id[:12] in self._id_bytes or b"everts " in message:
            return True
        # An unusual start or end, folded by `normalize_subject`, or a revert told by its subject only.
        odd = (
            not subject
            or subject.startswith(_ODD_STARTS)
            or subject.endswith(_ODD_ENDS)
            or b"  " in subject
            or b"\t" in subject
        )
        return odd and (
            subject.startswith((b'Revert "', b'Reapply "')) or self.subject(_subject_of(record)) is not None
        )

    def read(self, record: Record) -> tuple[list[_Event], _PendingRevert | None]:
        """The events in one commit. Reverts are told from backports first: both name an upstream commit."""
        subject = _subject_of(record)
        shown = _printable(subject)
        events: list[_Event] = []
        name = record.id.decode("ascii", "replace")
        own = self.key(name)
        if own is not None:
            return [_Event(name, shown, own, True, "the commit itself", Confidence.HIGH)], self._revert(
                record, subject, shown
            )
        if b" " in record.parents:  # a merge
            return events, self._revert(record, subject, shown)
        pending = self._revert(record, subject, shown)
        if pending is not None:
            return events, pending
        by_subject = self.subject(subject)
        conditional = has_conflicts(record.message)
        for trailer in find_trailers(record.message):
            key = self.key(trailer.id)
            if (
                key is None
                or not (trailer.certain or key == by_subject)
                or (normalize_subject(subject), key) in self.exceptions
            ):
                continue
            events.append(
                _Event(name, shown, key, True, f"names upstream {trailer.id[:12]}", Confidence.HIGH, conditional)
            )
        if not events and by_subject is not None and (normalize_subject(subject), by_subject) not in self.exceptions:
            events.append(_Event(name, shown, by_subject, True, "has its subject", Confidence.MEDIUM, conditional))
        return events, None

    def _revert(self, record: Record, subject: str, shown: str) -> _PendingRevert | None:
        reverts = find_reverts(record.message)
        _, depth = unwrap_revert(subject)
        if not reverts and depth == 0:
            return None
        return _PendingRevert(
            record.id.decode("ascii", "replace"),
            shown if len(subject) > _SUBJECT_LENGTH else subject,
            tuple(item.id for item in reverts),
            any(item.partial for item in reverts),
        )

    def resolve(self, revert: _PendingRevert, seen: dict[str, list[_Event]]) -> list[_Event]:
        """What a revert takes back: by the id of a commit of this tree, by an upstream id, else by the subject it quotes."""
        shown = _printable(revert.subject)
        inner, depth = unwrap_revert(revert.subject)
        effects: list[tuple[str, bool]] = []
        for target in revert.targets:
            local = [
                event
                for name, found in seen.items()
                if name.startswith(target) or target.startswith(name)
                for event in found
            ]
            upstream = self.key(target)
            if local:
                effects += [(event.key, not event.effect) for event in local]
            elif upstream is not None:
                effects.append((upstream, False))
        if not effects:
            key = self.subject(inner) if depth else None
            if key is None:
                return []
            effects = [(key, depth % 2 == 0)]
        events = []
        for key, effect in dict(effects).items():
            if (normalize_subject(revert.subject), key) in self.cosmetic:
                continue
            how = "reverts it" if not effect else "reverts its revert"
            events.append(_Event(revert.id, shown, key, None if revert.partial else effect, how, Confidence.HIGH))
        return events


def _subject_of(record: Record) -> str:
    return record.message[:200_000].lstrip().split(b"\n", 1)[0].decode("utf-8", "replace").strip()


@dataclass
class _Walked:
    """What a walk has gathered so far, newest first."""

    found: list[tuple[list[_Event], _PendingRevert | None]] = field(default_factory=list)
    count: int = 0
    base_met: bool = False
    cut: bool = False
    broken: str | None = None


def _find_base(repository: pygit2.Repository, head: str, version: UpstreamVersion, catalog: Catalog) -> Iterator[Base]:
    """Candidates for the base release, best first: the tag of the Makefile's release, then the commit that made it."""
    base = (
        catalog.previous_mainline(version) if version.rc is not None else UpstreamVersion(version.major, version.minor)
    )
    if base is None:
        return
    try:
        tagged = repository.references.get(f"refs/tags/v{base}")
        if tagged is not None:
            yield Base(base, str(tagged.peel(pygit2.Commit).id), f"tag v{base}")
    except (KeyError, ValueError, pygit2.GitError):
        pass  # a tag whose commit is not in this clone: the walk below may still find it by its subject
    wanted = f"Linux {base}".encode()
    try:
        for name, subject in first_parent_subjects(repository, head, _MAX_FIRST_PARENTS):
            if subject.strip() == wanted:
                yield Base(base, name, f'commit "Linux {base}"')
                return
    except WalkError:
        return


def _walk(
    repository: pygit2.Repository, head: str, base: Base | None, matcher: _Matcher, progress: Callable[[str], None]
) -> _Walked:
    walked = _Walked()
    cut = shallow_commits(repository)
    limit = _MAX_WITHOUT_BASE if base is None else _MAX_COMMITS
    if base is not None and base.commit == head:
        walked.base_met = True
        return walked
    try:
        for record in walk(repository, head, None if base is None else base.commit, limit):
            if record.boundary:
                walked.base_met = walked.base_met or (base is not None and record.id == base.commit.encode())
                continue
            walked.count += 1
            if walked.count % 4096 == 0:
                progress(f"reading the history: {walked.count:,} commits")
            if cut and record.id.decode("ascii", "replace") in cut:
                walked.cut = True
            if matcher.may_matter(record):
                events, pending = matcher.read(record)
                if events or pending is not None:
                    walked.found.append((events, pending))
    except WalkError as error:
        walked.broken = str(error)
    walked.cut = walked.cut or walked.count >= limit
    return walked


def _order_events(matcher: _Matcher, walked: _Walked) -> dict[str, list[_Event]]:
    """All events by the commit that they are about, oldest first, with the reverts resolved."""
    by_key: dict[str, list[_Event]] = {}
    seen: dict[str, list[_Event]] = {}
    for events, pending in reversed(walked.found):
        found = list(events)
        if pending is not None:
            found += matcher.resolve(pending, seen)
        for event in found:
            by_key.setdefault(event.key, []).append(event)
            seen.setdefault(event.id, []).append(event)
    return by_key


def _why_incomplete(
    repository: pygit2.Repository, base: Base | None, walked: _Walked, version: UpstreamVersion
) -> tuple[str, str] | None:
    """Why an absence proves nothing here, and the command that mends it; None when the range was seen whole."""
    deepen = "git fetch --unshallow --tags   in that clone"
    if walked.broken is not None:
        return (
            f"the history breaks off after {walked.count:,} commits: {walked.broken}",
            "git fsck --connectivity-only   in that repository",
        )
    if base is not None and walked.base_met and not walked.cut:
        return None
    if walked.cut and repository.is_shallow:
        return f"a shallow clone, cut after {walked.count:,} commits", deepen
    if base is None:
        return (
            f"neither tag v{version.branch} nor a commit that made it is in this history",
            "git fetch --tags   in that clone, from a remote with the mainline tags",
        )
    return (
        f"{base.how} is not an ancestor of what is audited",
        f"git merge-base v{version.branch} HEAD   in that repository",
    )


def _event_evidence(events: list[_Event]) -> Evidence:
    last = events[-1]
    citation = f'{last.id[:12]} ("{last.subject}")'
    if last.effect is None:
        return Evidence(
            EvidenceKind.HISTORY,
            last.key,
            Presence.UNKNOWN,
            citation,
            f"{citation} reverts a part of it",
            Confidence.LOW,
            settle=f"git show {last.id[:12]}",
        )
    presence = Presence.PRESENT if last.effect else Presence.ABSENT
    detail = f"{citation} {last.how}"
    conditional = last.conditional
    if conditional:
        detail += ", with conflicts resolved"
    if last.effect and last.how.startswith("reverts"):
        applied = next((event for event in events if event.effect and not event.how.startswith("reverts")), last)
        conditional = applied.conditional
    settle = f"git show {last.id[:12]}   and compare it with {last.key}" if conditional else None
    return Evidence(EvidenceKind.HISTORY, last.key, presence, citation, detail, last.confidence, conditional, settle)


def _evidence(
    commit: Commit, events: list[_Event], base: Base | None, walked: _Walked, gap: tuple[str, str] | None, head: str
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
    )


def read_history(
    catalog: Catalog,
    repository: pygit2.Repository,
    head: str,
    version: UpstreamVersion | None,
    progress: Callable[[str], None] = lambda _: None,
) -> History:
    """Read the history of `head` once; `version` is the Makefile's, None when it could not be read. Raises nothing."""
    branch = "" if version is None else version.branch
    matcher = _Matcher(catalog, branch)
    base: Base | None = None
    walked: _Walked | None = None
    for candidate in () if version is None else _find_base(repository, head, version, catalog):
        progress(f"reading the history since {candidate.how}")
        base, walked = candidate, _walk(repository, head, candidate, matcher, progress)
        if walked.base_met:
            break
    if walked is None:
        progress("reading the history, without a base")
        walked = _walk(repository, head, None, matcher, progress)
    gap = _why_incomplete(repository, base, walked, version or UpstreamVersion(0, 0))
    by_key = _order_events(matcher, walked)
    evidence = tuple(
        _evidence(commit, by_key.get(key, []), base, walked, gap, head) for key, commit in catalog.commits.items()
    )
    notes = [] if gap is None else [f"history: {gap[0]}; what is not found in it is unknown, not absent ({gap[1]})"]
    if gap is None and base is not None:
        notes.append(f"history: {walked.count:,} commits since {base.how} ({base.commit[:12]})")
    return History(evidence, base, walked.count, gap is None, tuple(notes))
