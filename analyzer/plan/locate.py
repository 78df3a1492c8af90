"""Finds the sources of a commit: mainline's object, or a stable branch's backport, by its id or by its message.

The refs of `--upstream` are walked as far as the audited history does not have them. A backport is recognised as in an
audit (docs/history.md); one that the branch reverted afterwards is no source. ``Stable-dep-of:`` names what a backport
needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import Record, WalkError, walk
from tailcall_audit.analyzer.kernelfiles.makefile import read_identity
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader
from tailcall_audit.analyzer.plan.scratch import MissingObjectError, Scratch
from tailcall_audit.analyzer.plan.types import MAINLINE, Origin
from tailcall_audit.analyzer.readers.events import Walked
from tailcall_audit.analyzer.readers.matching import Matcher
from tailcall_audit.analyzer.readers.messages import normalize_subject
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["Located", "Tip", "locate", "nearest", "tip_of"]

_MAX_COMMITS = 300_000
"""The most commits of a walk: mainline has as many in some four years."""
_STABLE_DEPENDENCY = re.compile(rb"^[ \t]*\(?Stable-dep-of: ([0-9a-f]{12,40})", re.MULTILINE)
_WHOLE = 40


@dataclass(frozen=True)
class Tip:
    """The head of a branch to look in: its name as the user knows it, its commit, and the branch that its Makefile is
    of.
    """

    name: str
    commit: str
    source: str
    version: UpstreamVersion | None


class Located(NamedTuple):
    """The origins of each wanted commit, the best first, and the commits that a branch took for its sake, oldest first."""

    origins: Mapping[str, Sequence[Origin]] = {}
    dependencies: Mapping[str, Sequence[Origin]] = {}
    notes: tuple[str, ...] = ()


def tip_of(scratch: Scratch, name: str, commit_id: str) -> Tip | None:
    """Returns the branch that a ref is of, by its Makefile; None if it is no kernel's, or not here."""
    try:
        commit = scratch.commit(commit_id)
    except MissingObjectError:
        return None
    identity = read_identity(BlobReader(scratch.repository, commit))
    if identity is None or identity.version is None:
        return None
    version = identity.version
    return Tip(name, commit_id, version.branch if version.sublevel else MAINLINE, version)


def nearest(catalog: Catalog, own: UpstreamVersion | None) -> Callable[[str], tuple[int, int]]:
    """Returns the sort key of sources for a tree of a version: its own branch, then those near to it, then mainline.
    For a release candidate mainline comes first.
    """
    names = list(catalog.branches)
    place = {name: index for index, name in enumerate(names)}
    here = place.get(own.branch, len(names)) if own is not None else len(names)
    mainline_first = own is None or own.rc is not None

    def rank(source: str) -> tuple[int, int]:
        if source == MAINLINE:
            return (0 if mainline_first else 2, 0)
        index = place.get(source, len(names))
        # If two are equally far away, the newer one is nearer to mainline's form.
        return 1, 2 * abs(index - here) + (index < here)

    return rank


def _catalogued(scratch: Scratch, commit: Commit) -> list[Origin]:
    """Returns the origins whose id the catalogue has and whose objects are here."""
    named = [Origin(commit.id, commit.only_on_branch or MAINLINE)]
    named += [Origin(fact.id, fact.branch) for fact in commit.branches.values() if fact.id]
    return [Origin(name, origin.source) for origin in named if (name := _is_here(scratch, origin.id, commit.subject))]


def _is_here(scratch: Scratch, name: str, subject: str) -> str | None:
    """Returns the whole id of a commit that is here; None if it is not. An abbreviated id counts with the subject only."""
    try:
        found = scratch.commit(name)
        scratch.parent_tree(found)
    except MissingObjectError:
        return None
    title = found.raw_message.lstrip().partition(b"\n")[0].decode("utf-8", "replace")
    if len(name) < _WHOLE and normalize_subject(title) != normalize_subject(subject):
        return None
    return str(found.id)


class _BranchWalk:
    """The wanted commits that one branch has."""

    def __init__(self, matcher: Matcher, wanted: Iterable[str]) -> None:
        self._matcher = matcher
        self._wanted = frozenset(wanted)
        self._walked = Walked(matcher)
        self._dependencies: dict[str, list[str]] = {}

    def see(self, record: Record) -> None:
        """Takes one commit of the walk, which is newest first."""
        if b"Stable-dep-of" in record.message:
            for name in _STABLE_DEPENDENCY.findall(record.message):
                key = self._matcher.key(name.decode("ascii"))
                if key in self._wanted and key is not None:
                    self._dependencies.setdefault(key, []).insert(0, record.id.decode("ascii", "replace"))
        if self._matcher.may_matter(record):
            events, pending = self._matcher.read(record)
            if events or pending is not None:
                self._walked.found.append((events, pending))

    def origins(self) -> dict[str, str]:
        """Returns the branch's commit for each wanted one that is in it after all reverts."""
        found = {}
        for key, events in self._walked.ordered().items():
            if key in self._wanted and events[-1].effect is True:
                found[key] = next(event.id for event in reversed(events) if event.effect is True)
        return found

    def dependencies(self) -> dict[str, list[str]]:
        """Returns the commits that the branch took for the sake of each wanted one, oldest first."""
        return self._dependencies


def locate(
    scratch: Scratch,
    catalog: Catalog,
    wanted: Sequence[str],
    tips: Sequence[Tip],
    head: str,
    own: UpstreamVersion | None,
    progress: Callable[[str], None],
) -> Located:
    """Finds the origins of the wanted commits (keys of the catalogue) for a tree of version `own` at the commit `head`."""
    notes: list[str] = []
    dependencies: dict[str, list[Origin]] = {}
    rank = nearest(catalog, own)
    origins = {key: _catalogued(scratch, catalog.commits[key]) for key in wanted}
    for tip in sorted(tips, key=lambda tip: rank(tip.source)):
        if tip.commit == head or all(
            any(rank(item.source) <= rank(tip.source) for item in origins[key]) for key in wanted
        ):
            continue  # what is known is as near, or nearer
        progress(f"reading {tip.name}")
        seen = _BranchWalk(Matcher(catalog, tip.source), wanted)
        try:
            for number, record in enumerate(walk(scratch.repository, tip.commit, head, _MAX_COMMITS), 1):
                if not record.boundary:
                    seen.see(record)
                if number % 4096 == 0:
                    progress(f"reading {tip.name}: {number:,} commits")
        except WalkError as error:
            notes.append(f"{tip.name}: {error}; its later commits are not known")
        for key, name in seen.origins().items():
            if all(item.id != name for item in origins[key]) and _is_here(scratch, name, ""):
                origins[key].append(Origin(name, tip.source))
        for key, names in seen.dependencies().items():
            dependencies.setdefault(key, [Origin(name, tip.source) for name in names])
    nearest_first = {key: sorted(items, key=lambda item: rank(item.source)) for key, items in origins.items()}
    return Located(nearest_first, dependencies, tuple(notes))
