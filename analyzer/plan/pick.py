"""Picks one commit on top of a tree: libgit2's three-way merge against the commit's parent, as ``git cherry-pick``
does.

Only the files that the commit changes take part: all others are the same on its side and in its parent, so the tree
keeps them. A file that the tree does not have may have another name there; then the files that the tree has and the
parent has not are candidates, as in git's search for renames.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

import pygit2

from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.plan.scratch import Entry, MissingObjectError, Scratch
from tailcall_audit.analyzer.plan.types import Conflict, Outcome

__all__ = ["Picked", "conflict_functions", "functions_with_markers", "pick"]

_MAX_CANDIDATES = 200
"""The most files that libgit2 compares with a renamed one, as git did for long (merge.renameLimit)."""
_HEADING = re.compile(r"^[A-Za-z_$][^;\n]*$", re.MULTILINE)
_NAME = re.compile(r"\b(\w+)\s*\(")
_LABEL = re.compile(r"^\w+\s*:\s*$")
_NO_RENAMES = pygit2.enums.MergeFlag(0)


class Picked(NamedTuple):
    """The result of a pick: the tree afterwards (unchanged if it conflicts), and the conflicts."""

    outcome: Outcome
    tree: str
    conflicts: tuple[Conflict, ...] = ()


class _Sides(NamedTuple):
    """The three sides of a merge, each with the files that take part."""

    ancestor: dict[str, Entry]
    ours: dict[str, Entry]
    theirs: dict[str, Entry]


class _Merge(NamedTuple):
    """The files of a merge, and the paths that conflict with their three versions."""

    files: dict[str, Entry]
    conflicts: dict[str, tuple[Entry | None, Entry | None, Entry | None]]


def _merge(scratch: Scratch, sides: _Sides, flags: pygit2.enums.MergeFlag) -> _Merge:
    base, mine, other = (scratch.tree_of(side) for side in sides)
    with pygit2_errors(lambda words: MissingObjectError(f"libgit2 does not merge it: {words}")):
        index = scratch.repository.merge_trees(base, mine, other, flags=flags)
        conflicts: dict[str, tuple[Entry | None, Entry | None, Entry | None]] = {}
        for ancestor, ours, theirs in index.conflicts or ():
            path = next(item.path for item in (ancestor, ours, theirs) if item is not None)
            conflicts[path] = _entry(ancestor), _entry(ours), _entry(theirs)
        files = {str(item.path): Entry(str(item.id), int(item.mode)) for item in index if item.path not in conflicts}
    return _Merge(files, conflicts)


def _entry(item: pygit2.IndexEntry | None) -> Entry | None:
    return None if item is None else Entry(str(item.id), int(item.mode))


def _candidates(scratch: Scratch, ancestor: str, tree: str, missing: list[str]) -> Iterator[tuple[str, Entry]]:
    """Files of the tree that the parent does not have, the likeliest new names of what is missing first."""
    names = {PurePosixPath(path).name for path in missing}
    folders = {str(PurePosixPath(path).parent) for path in missing}
    endings = {PurePosixPath(path).suffix for path in missing}

    def unlikely(item: tuple[str, Entry]) -> tuple[bool, bool, bool]:
        path = PurePosixPath(item[0])
        return path.name not in names, str(path.parent) not in folders, path.suffix not in endings

    # A tree of a stable branch and mainline's differ in tens of thousands of files: only the likeliest are kept.
    yield from heapq.nsmallest(_MAX_CANDIDATES, scratch.added(ancestor, tree), key=unlikely)


def _with_renames(
    scratch: Scratch, sides: _Sides, ancestor: str, tree: str, missing: list[str]
) -> tuple[_Merge, _Sides]:
    more = dict(_candidates(scratch, ancestor, tree, missing))
    for entry in more.values():
        scratch.require(entry)
    widened = sides._replace(ours={**more, **sides.ours})
    return _merge(scratch, widened, pygit2.enums.MergeFlag.FIND_RENAMES), widened


def pick(scratch: Scratch, tree: str, commit: pygit2.Commit) -> Picked:
    """Picks a commit on top of a tree; raises MissingObjectError if an object that takes part is not here."""
    ancestor = scratch.parent_tree(commit)
    changes = scratch.changes(ancestor, str(commit.tree_id))
    ours = {change.path: scratch.entry(tree, change.path) for change in changes}
    sides = _Sides(
        {change.path: change.old for change in changes if change.old is not None},
        {path: entry for path, entry in ours.items() if entry is not None},
        {change.path: change.new for change in changes if change.new is not None},
    )
    for side in sides:
        for entry in side.values():
            scratch.require(entry)
    merged, outcome = _merge(scratch, sides, _NO_RENAMES), Outcome.CLEAN
    missing = [change.path for change in changes if change.old is not None and ours[change.path] is None]
    if merged.conflicts and missing:
        renamed, widened = _with_renames(scratch, sides, ancestor, tree, missing)
        if not renamed.conflicts:
            merged, outcome, sides = renamed, Outcome.RENAMES, widened
    if merged.conflicts:
        found = tuple(
            Conflict(path, conflict_functions(scratch, path, versions))
            for path, versions in sorted(merged.conflicts.items())
        )
        return Picked(Outcome.CONFLICTS, tree, found)
    written = scratch.with_files(tree, _difference(sides.ours, merged.files))
    return Picked(Outcome.PRESENT if written == tree else outcome, written)


def _difference(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> dict[str, Entry | None]:
    """Returns the paths to change so that `before` becomes `after`."""
    gone: dict[str, Entry | None] = {path: None for path in before if path not in after}
    return gone | {path: entry for path, entry in after.items() if before.get(path) != entry}


def conflict_functions(
    scratch: Scratch, path: str, versions: tuple[Entry | None, Entry | None, Entry | None]
) -> tuple[str, ...]:
    """Returns the functions of our version in which three versions of a file do not merge; nothing if one is missing."""
    ancestor, ours, theirs = (
        entry and pygit2.IndexEntry(path, pygit2.Oid(hex=entry.id), pygit2.enums.FileMode(entry.mode))
        for entry in versions
    )
    if ancestor is None or ours is None or theirs is None:
        return ()
    try:
        with pygit2_errors(MissingObjectError):
            text = scratch.repository.merge_file_from_index(ancestor, ours, theirs, use_deprecated=False).contents or ""
    except MissingObjectError:
        return ()
    return functions_with_markers(text)


def functions_with_markers(text: str) -> tuple[str, ...]:
    """Returns the functions in which a merged file has conflict markers, each once, as far as a line that begins one is
    above.

    The line is that of a hunk's heading in git: it begins in the first column and is no label.
    """
    found: dict[str, None] = {}
    heading = ""
    for line in text.split("\n"):
        if line.startswith("<<<<<<< "):
            name = _NAME.search(heading)
            if name is not None:
                found[f"{name.group(1)}()"] = None
        elif _HEADING.match(line) and not _LABEL.match(line) and "(" in line:
            heading = line
    return tuple(found)
