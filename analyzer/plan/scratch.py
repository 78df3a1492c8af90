"""A bare repository of our own that reads the objects of others and is deleted afterwards: libgit2 writes what it
merges.

The repositories that it borrows from are named in its objects/info/alternates. They are not opened here, so nothing of
their configuration is read, and nothing is written to them or fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pygit2

from tailcall_audit.analyzer.kernelfiles.loose_objects import BrokenObjectError, LooseObjects, object_folders
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.model import AuditError

__all__ = ["Change", "Entry", "MissingObjectError", "Scratch"]

_MAX_CHANGES = 20_000
_MAX_DEPTH = 100
_WHOLE = 40
_MAX_BORROWED = 10
"""The most object stores that a repository may borrow from, one after the other. `LooseObjects` has the same limit."""
_MAX_BLOB = 32 << 20


class MissingObjectError(Exception):
    """An object that is in none of the repositories, or is broken. The message names it."""


class Entry(NamedTuple):
    """The object of a path in a tree: its id, and its mode."""

    id: str
    mode: int

    @property
    def is_file(self) -> bool:
        """Returns True for a regular file, executable or not."""
        return self.mode in (pygit2.enums.FileMode.BLOB, pygit2.enums.FileMode.BLOB_EXECUTABLE)


class Change(NamedTuple):
    """A path that differs between two trees."""

    path: str
    old: Entry | None
    new: Entry | None


class Scratch:
    """The repository in `folder`, which is empty or not there, and which the caller deletes."""

    def __init__(self, folder: Path, borrowed: Sequence[Path]) -> None:
        """`borrowed` are folders of objects (``.git/objects``). Raises AuditError if one cannot be borrowed from."""
        with pygit2_errors(lambda words: AuditError(f"{folder}: no scratch repository can be made: {words}")):
            self.repository = pygit2.init_repository(str(folder), bare=True)
        lines = []
        for objects in dict.fromkeys(place for given in borrowed for place in object_folders(given)):
            path = str(objects.resolve())
            if "\n" in path or "\r" in path:
                raise AuditError(f"{path!r}: a path with a line break cannot be borrowed from: rename the folder")
            lines.append(path)
        if len(lines) > _MAX_BORROWED:
            raise AuditError(
                f"more than {_MAX_BORROWED} folders of objects, with those that they borrow from: name fewer with --upstream"
            )
        (folder / "objects/info").mkdir(parents=True, exist_ok=True)
        (folder / "objects/info/alternates").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        with pygit2_errors(lambda words: AuditError(f"{folder}: no scratch repository can be opened: {words}")):
            self.repository = pygit2.Repository(str(folder))
        self._loose = LooseObjects(self.repository)

    def _check(self, name: str) -> None:
        """Raises MissingObjectError if an object is a loose file that is cut off: libgit2 would read it for ever."""
        try:
            self._loose.check(name)
        except BrokenObjectError as error:
            raise MissingObjectError(str(error)) from error

    def _object(self, name: str) -> pygit2.Object:
        with pygit2_errors(lambda _: MissingObjectError(f"{name[:12]} is not here")):
            whole = name if len(name) == _WHOLE else str(self.repository.expand_id(name))
        self._check(whole)
        with pygit2_errors(lambda _: MissingObjectError(f"{name[:12]} is not here")):
            return self.repository[whole]

    def commit(self, name: str) -> pygit2.Commit:
        """Returns the commit of an id of 12 to 40 digits; raises MissingObjectError."""
        found = self._object(name)
        if not isinstance(found, pygit2.Commit):
            raise MissingObjectError(f"{name[:12]} is no commit")
        return found

    def parent_tree(self, commit: pygit2.Commit) -> str:
        """Returns the tree of a commit's only parent; raises MissingObjectError, also for a merge and for a first
        commit.
        """
        if len(commit.parent_ids) != 1:
            raise MissingObjectError(f"{str(commit.id)[:12]} has {len(commit.parent_ids)} parents: it cannot be picked")
        parent = str(commit.parent_ids[0])
        try:
            return str(self.commit(parent).tree_id)
        except MissingObjectError as error:
            raise MissingObjectError(f"the parent of {str(commit.id)[:12]}, {error}") from error

    def tree(self, name: str) -> pygit2.Tree:
        """Returns the tree of an id; raises MissingObjectError."""
        found = self._object(name)
        if not isinstance(found, pygit2.Tree):
            raise MissingObjectError(f"{name[:12]} is no tree")
        return found

    def entries(self, tree: str) -> dict[str, Entry]:
        """Returns the entries of one folder; raises MissingObjectError."""
        return {str(item.name): Entry(str(item.id), int(item.filemode)) for item in self.tree(tree)}

    def entry(self, tree: str, path: str) -> Entry | None:
        """Returns the entry of a path in a tree; None if there is none. Raises MissingObjectError."""
        current = Entry(tree, pygit2.enums.FileMode.TREE)
        for name in path.split("/"):
            if current.mode != pygit2.enums.FileMode.TREE:
                return None
            found = self.tree(current.id)
            if name not in found:
                return None
            item = found[name]
            current = Entry(str(item.id), int(item.filemode))
        return current

    def data(self, name: str) -> bytes:
        """Returns the content of a file; raises MissingObjectError."""
        found = self._object(name)
        if not isinstance(found, pygit2.Blob) or found.size > _MAX_BLOB:
            raise MissingObjectError(f"{name[:12]} is no file of at most {_MAX_BLOB >> 20} MiB")
        return found.data

    def require(self, entry: Entry) -> None:
        """Raises MissingObjectError if the content of an entry is not here."""
        self._object(entry.id)

    def changes(self, old: str, new: str) -> list[Change]:
        """Returns the paths in which two trees differ; raises MissingObjectError, also where they are too many."""
        found = []
        for change in self._changes(old, new, "", 0):
            found.append(change)
            if len(found) > _MAX_CHANGES:
                raise MissingObjectError(f"{old[:12]} and {new[:12]} differ in more than {_MAX_CHANGES} files")
        return found

    def added(self, old: str, new: str) -> Iterator[tuple[str, Entry]]:
        """Yields the files that the second tree has and the first has not, however many; raises MissingObjectError."""
        for change in self._changes(old, new, "", 0):
            if change.old is None and change.new is not None and change.new.is_file:
                yield change.path, change.new

    def _changes(self, old: str | None, new: str | None, folder: str, depth: int) -> Iterator[Change]:
        if old == new or depth > _MAX_DEPTH:
            return
        before = {} if old is None else self.entries(old)
        after = {} if new is None else self.entries(new)
        for name in sorted({*before, *after}):
            first, second = before.get(name), after.get(name)
            if first == second:
                continue
            path = f"{folder}{name}"
            folders = [item is not None and item.mode == pygit2.enums.FileMode.TREE for item in (first, second)]
            if any(folders):
                inner = [
                    item.id if item and is_folder else None
                    for item, is_folder in zip((first, second), folders, strict=True)
                ]
                yield from self._changes(inner[0], inner[1], f"{path}/", depth + 1)
            plain = [None if is_folder else item for item, is_folder in zip((first, second), folders, strict=True)]
            if plain[0] != plain[1]:
                yield Change(path, plain[0], plain[1])

    def write(self, data: bytes) -> str:
        """Writes a file's content to the scratch repository and returns its id."""
        with pygit2_errors(lambda words: AuditError(f"the scratch repository cannot be written: {words}")):
            return str(self.repository.create_blob(data))

    def tree_of(self, files: Mapping[str, Entry]) -> str:
        """Writes a tree of these paths and returns its id; raises MissingObjectError."""
        return self.with_files(None, files)

    def with_files(self, tree: str | None, files: Mapping[str, Entry | None]) -> str:
        """Writes a tree like `tree` with these paths changed (None: taken out) and returns its id; raises
        MissingObjectError.
        """
        with pygit2_errors(lambda words: MissingObjectError(f"a tree cannot be written: {words}")):
            found = self._with_files(tree, files)
            return found if found is not None else str(self.repository.TreeBuilder().write())

    def _with_files(self, tree: str | None, files: Mapping[str, Entry | None]) -> str | None:
        builder = self.repository.TreeBuilder() if tree is None else self.repository.TreeBuilder(self.tree(tree))
        inner: dict[str, dict[str, Entry | None]] = {}
        for path, entry in files.items():
            name, _, rest = path.partition("/")
            if rest:
                inner.setdefault(name, {})[rest] = entry
            elif entry is not None:
                self._check(entry.id)  # libgit2 looks at what it puts into a tree
                builder.insert(name, entry.id, entry.mode)
            elif builder.get(name) is not None:
                builder.remove(name)
        for name, below in inner.items():
            known = builder.get(name)
            is_folder = known is not None and known.filemode == pygit2.enums.FileMode.TREE
            written = self._with_files(str(known.id) if known is not None and is_folder else None, below)
            if written is not None:
                builder.insert(name, written, pygit2.enums.FileMode.TREE)
            elif is_folder:
                builder.remove(name)
        return str(builder.write()) if len(builder) else None
