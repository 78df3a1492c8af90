"""Finds the names that a commit uses and a tree lacks (functions, members and macros), and the commit that brought
them.

A merge may be clean and the code not compile: the added lines may call a function that came to mainline a year before
the commit, and that the tree does not have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import PurePosixPath

import pygit2

from tailcall_audit.analyzer.kernelfiles.git_walk import WalkError, commits_of_paths
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.plan.scratch import Change, Entry, MissingObjectError, Scratch

__all__ = ["find_introduction", "missing_names"]

_CODE = frozenset((".c", ".h", ".S"))
_SHARED = ("include/linux", "kernel/bpf")
_ELSEWHERE = ("include/uapi/linux", "include/asm-generic", "include/net", "kernel", "lib", "mm")
"""The folders in which the tree may have a name that its parent has elsewhere: a name that was moved is not lacking."""
_NO_CODE = re.compile(rb"//[^\n]*|^[ \t]*\*[^\n]*|\"(?:\\.|[^\"\\\n])*\"?", re.MULTILINE)
"""Comments to the end of a line, lines inside of a comment that begins before them, and strings."""
_USED = re.compile(rb"(?:->|\.)[ \t]*([A-Za-z_]\w{3,})|\b([A-Za-z_]\w{3,})[ \t]*\(|\b([A-Z][A-Z0-9_]{4,})\b")
_WORD = re.compile(rb"\w+")
_MAX_NAMES = 20
_MAX_USED = 400
"""The most names that are looked for in other files because the changed files do not have them. The largest fix of the
catalogue has a dozen.
"""
_MAX_PLACES = 50
_MAX_COMMITS = 20_000


def _is_code(path: str) -> bool:
    return PurePosixPath(path).suffix in _CODE


def _without_comments(data: bytes) -> bytes:
    """Returns a text without the comments between their marks; one that is not closed goes to the end."""
    kept = []
    place = 0
    while (start := data.find(b"/*", place)) >= 0:
        kept.append(data[place:start])
        end = data.find(b"*/", start + 2)
        place = len(data) if end < 0 else end + 2
    return b" ".join([*kept, data[place:]])


def _added(scratch: Scratch, changes: Iterable[Change]) -> bytes:
    """Returns the lines that a commit adds to code, without comments and strings."""
    code = [change for change in changes if _is_code(change.path)]
    old = scratch.tree_of({change.path: change.old for change in code if change.old is not None})
    new = scratch.tree_of({change.path: change.new for change in code if change.new is not None})
    with pygit2_errors(lambda words: MissingObjectError(f"no diff: {words}")):
        diff = scratch.tree(old).diff_to_tree(scratch.tree(new), context_lines=0)
        hunks = [hunk for patch in diff if patch is not None for hunk in patch.hunks]
        lines = [line.raw_content for hunk in hunks for line in hunk.lines if line.origin == "+"]
    return _NO_CODE.sub(b" ", _without_comments(b"".join(lines)))


def _named_in(names: Iterable[bytes], data: bytes) -> set[bytes]:
    """Returns the names that stand in a text as whole words, outside of its comments."""
    found = [name for name in names if name in data]
    code = _without_comments(data) if found else b""
    return {name for name in found if re.search(rb"\b" + name + rb"\b", code)}


def _words(scratch: Scratch, entries: Iterable[Entry | None]) -> set[bytes]:
    return {
        word
        for entry in entries
        if entry is not None and entry.is_file
        for word in _WORD.findall(scratch.data(entry.id))
    }


def _folder_files(scratch: Scratch, tree: str, folder: str) -> dict[str, Entry]:
    entry = scratch.entry(tree, folder)
    if entry is None or entry.mode != pygit2.enums.FileMode.TREE:
        return {}
    return {
        f"{folder}/{name}": item for name, item in scratch.entries(entry.id).items() if item.is_file and _is_code(name)
    }


def missing_names(scratch: Scratch, tree: str, commit: pygit2.Commit) -> tuple[str, ...]:
    """Returns the names that a commit uses, that its parent has, and that the tree lacks; raises MissingObjectError.

    Looked for in the files that the commit changes, in their folders, in kernel/bpf and in include/linux.
    """
    ancestor = scratch.parent_tree(commit)
    changes = [change for change in scratch.changes(ancestor, str(commit.tree_id)) if _is_code(change.path)]
    used = {name for groups in _USED.findall(_added(scratch, changes)) for name in groups if name}
    for change in changes:
        entry = scratch.entry(tree, change.path) if used else None
        if entry is not None and entry.is_file:
            used -= _named_in(used, scratch.data(entry.id))
    used = set(sorted(used)[:_MAX_USED])
    if not used:
        return ()
    folders = dict.fromkeys((*(str(PurePosixPath(change.path).parent) for change in changes), *_SHARED))
    theirs: dict[str, Entry] = {}
    ours: dict[str, Entry] = {}
    for folder in folders:
        theirs |= _folder_files(scratch, ancestor, folder)
        ours |= _folder_files(scratch, tree, folder)
    # What both have as the same file is no difference. A name that the commit itself brings is not in its parent.
    known = {entry.id for entry in ours.values()}
    candidates = used & _words(scratch, (entry for entry in theirs.values() if entry.id not in known))
    for folder in _ELSEWHERE if candidates else ():
        ours |= _folder_files(scratch, tree, folder)
    for entry in ours.values():
        if not candidates:
            return ()
        candidates -= _named_in(candidates, scratch.data(entry.id))
    return tuple(sorted(name.decode("ascii") for name in candidates))[:_MAX_NAMES]


def _with_name(scratch: Scratch, tree: str, paths: Iterable[str], name: bytes) -> Iterator[str]:
    pattern = re.compile(rb"\b" + re.escape(name) + rb"\b")
    for path in paths:
        entry = scratch.entry(tree, path)
        if entry is not None and entry.is_file and pattern.search(scratch.data(entry.id)):
            yield path


def find_introduction(
    scratch: Scratch, commit: pygit2.Commit, head: str, name: str, progress: Callable[[str], None]
) -> str | None:
    """Returns the commit before `commit`, and not in the history of `head`, that brought a name; None if it is not
    found.

    Raises MissingObjectError.
    """
    word = name.encode("ascii")
    ancestor = scratch.parent_tree(commit)
    changed = [change.path for change in scratch.changes(ancestor, str(commit.tree_id))]
    folders = dict.fromkeys((*(str(PurePosixPath(path).parent) for path in changed), *_SHARED))
    files = [path for folder in folders for path in _folder_files(scratch, ancestor, folder)]
    places = list(islice(_with_name(scratch, ancestor, files, word), _MAX_PLACES))
    progress(f"looking for what brought {name}")
    oldest = None
    try:
        for found in commits_of_paths(scratch.repository, str(commit.parent_ids[0]), head, places, _MAX_COMMITS):
            candidate = scratch.commit(found)
            if len(candidate.parent_ids) != 1:
                continue  # the first commit of a history changes nothing that could be picked
            before = scratch.parent_tree(candidate)
            has = any(_with_name(scratch, str(candidate.tree_id), places, word))
            if has and not any(_with_name(scratch, before, places, word)):
                oldest = found
    except WalkError:
        return None
    return oldest
