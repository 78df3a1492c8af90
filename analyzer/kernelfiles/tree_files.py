"""Reading single files of a kernel tree, from disk or from a commit, with bounds and without following links."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

import pygit2

from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.kernelfiles.loose_objects import BrokenObjectError, LooseObjects
from tailcall_audit.analyzer.libraries import pygit2_errors

__all__ = [
    "MAX_BYTES",
    "BlobReader",
    "CheckoutReader",
    "DiskReader",
    "FileRead",
    "FileReader",
    "KeptBlobs",
    "ReadState",
    "blob_id",
]

MAX_BYTES = 3 << 20
"""The largest file that is read is kernel/bpf/verifier.c, of some 1 MB in 7.3."""
_MAX_NAMES = 20_000
_MAX_KEPT = 32 << 20
"""The files that an audit reads of one kernel have some 3 MB."""
_NOT_IN_CLONE = "its object is not in this clone (a partial clone)"


class _ObjectError(Exception):
    """An object that is not there, or is broken."""


class ReadState(Enum):
    """The result of an attempt to read a file."""

    READ = "read"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class FileRead:
    """The content of a file, or why there is none. A file that is missing is not the same as one that cannot be read."""

    path: str
    state: ReadState
    data: bytes = b""
    reason: str = ""


class FileReader(Protocol):
    """Reads files by their path below the root of the tree."""

    def read(self, path: str, limit: int = MAX_BYTES) -> FileRead:
        """Reads a file; never raises for a file that is missing, too large or unreadable."""
        ...

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Returns the names in a folder, sorted; None if it is not there or cannot be listed whole."""
        ...


class DiskReader:
    """Reads the files that would be built."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_root = os.path.realpath(root)

    def read(self, path: str, limit: int = MAX_BYTES) -> FileRead:
        """Reads a regular file of at most `limit` bytes that lies below the root; links, devices and pipes are refused."""
        if "\0" in path:  # a list of patches may name anything
            return FileRead(path, ReadState.UNREADABLE, reason="a name that no file has")
        place = os.path.join(self._real_root, path)
        parent = os.path.realpath(os.path.dirname(place))
        if parent != self._real_root and not parent.startswith(self._real_root + os.sep):
            return FileRead(path, ReadState.UNREADABLE, reason="leads out of the tree through a symbolic link")
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return FileRead(path, ReadState.MISSING, reason="no such file")
        except OSError as error:
            reason = "is a symbolic link" if os.path.islink(place) else str(error.strerror or error)
            return FileRead(path, ReadState.UNREADABLE, reason=reason)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return FileRead(path, ReadState.UNREADABLE, reason="not a regular file")
        with os.fdopen(descriptor, "rb") as file:
            try:
                data = file.read(limit + 1)
            except OSError as error:
                return FileRead(path, ReadState.UNREADABLE, reason=str(error.strerror or error))
        if len(data) > limit:
            return FileRead(path, ReadState.UNREADABLE, reason=f"larger than {limit >> 20} MiB")
        return FileRead(path, ReadState.READ, data)

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Lists a folder below the root, of at most 20,000 entries."""
        if "\0" in folder:
            return None
        place = os.path.realpath(os.path.join(self._real_root, folder))
        if place != self._real_root and not place.startswith(self._real_root + os.sep):
            return None
        try:
            found = os.listdir(place)
        except OSError:
            return None
        return tuple(sorted(found)) if len(found) <= _MAX_NAMES else None


class KeptBlobs:
    """Blobs by their ids, for readers of several commits, which share most of their files."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._size = 0

    def get(self, name: str) -> bytes | None:
        """Returns a blob; None if it is not kept."""
        return self._blobs.get(name)

    def add(self, name: str, data: bytes) -> None:
        """Keeps a blob, and forgets all the others if they are too many."""
        if name in self._blobs:
            return
        if self._size + len(data) > _MAX_KEPT:
            self._blobs.clear()
            self._size = 0
        self._blobs[name] = data
        self._size += len(data)


class BlobReader:
    """Reads the files of one commit, or those below a folder of it. Objects that a partial clone left out are
    unreadable, not missing; so are loose ones that are cut off.
    """

    def __init__(
        self,
        repository: pygit2.Repository,
        commit: pygit2.Commit,
        folder: str = "",
        kept: KeptBlobs | None = None,
    ) -> None:
        """`kept` is what readers of other commits have read; this one adds its own."""
        self._kept = kept
        self._repository = repository
        self._commit = commit
        self._folder = folder.strip("/")
        self._loose = LooseObjects(repository)

    def entry_id(self, path: str) -> str | None:
        """Returns the object id of a path in the commit, or None if it has none or its tree is not there."""
        entry = self._entry(path)
        return None if isinstance(entry, FileRead) else str(entry.id)

    def _entry(self, path: str) -> FileRead | pygit2.Object:
        try:
            self._loose.check(str(self._commit.tree_id))
            with pygit2_errors(_ObjectError):
                entry: pygit2.Object = self._commit.tree
                for name in filter(None, f"{self._folder}/{path}".split("/")):
                    if not isinstance(entry, pygit2.Tree) or name not in entry:
                        return FileRead(path, ReadState.MISSING, reason="no such file in the commit")
                    entry = entry[name]
                    self._loose.check(str(entry.id))
        except BrokenObjectError as error:
            return FileRead(path, ReadState.UNREADABLE, reason=str(error))
        except _ObjectError as error:
            if isinstance(error.__cause__, BrokenObjectError):
                return FileRead(path, ReadState.UNREADABLE, reason=str(error.__cause__))
            return FileRead(path, ReadState.UNREADABLE, reason=_NOT_IN_CLONE)
        return entry

    def read(self, path: str, limit: int = MAX_BYTES) -> FileRead:
        """Reads a blob of at most `limit` bytes."""
        entry = self._entry(path)
        if isinstance(entry, FileRead):
            return entry
        if not isinstance(entry, pygit2.Blob):
            return FileRead(path, ReadState.UNREADABLE, reason="not a file in the commit")
        if entry.filemode == pygit2.enums.FileMode.LINK:
            return FileRead(path, ReadState.UNREADABLE, reason="is a symbolic link")
        name = str(entry.id)
        data = None if self._kept is None else self._kept.get(name)
        try:
            with pygit2_errors(_ObjectError):
                if (entry.size if data is None else len(data)) > limit:
                    return FileRead(path, ReadState.UNREADABLE, reason=f"larger than {limit >> 20} MiB")
                data = entry.data if data is None else data
        except _ObjectError:
            return FileRead(path, ReadState.UNREADABLE, reason=_NOT_IN_CLONE)
        if self._kept is not None:
            self._kept.add(name, data)
        return FileRead(path, ReadState.READ, data)

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Lists a folder of the commit."""
        entry = self._entry(folder)
        if not isinstance(entry, pygit2.Tree) or len(entry) > _MAX_NAMES:
            return None
        return tuple(sorted(str(item.name) for item in entry))


class CheckoutReader:
    """Reads the files of a checkout from disk. A file that is in HEAD and not on disk is unreadable, not missing."""

    def __init__(self, root: Path, repository: pygit2.Repository, commit: pygit2.Commit) -> None:
        self._disk = DiskReader(root)
        self._head = BlobReader(repository, commit)

    def read(self, path: str, limit: int = MAX_BYTES) -> FileRead:
        """Reads a file as `DiskReader` does."""
        read = self._disk.read(path, limit)
        if read.state is ReadState.MISSING and self._head.entry_id(path) is not None:
            # A sparse checkout leaves out files that are part of the kernel.
            reason = f"in HEAD and not on disk, a sparse checkout? {parameter('rev', 'HEAD')} reads the commit"
            return FileRead(path, ReadState.UNREADABLE, reason=reason)
        return read

    def names(self, folder: str) -> tuple[str, ...] | None:
        """Lists a folder on disk, and the files that the commit has in it, because a sparse checkout leaves files out."""
        disk, head = self._disk.names(folder), self._head.names(folder)
        return tuple(sorted({*(disk or ()), *(head or ())})) if disk or head else None


def blob_id(data: bytes) -> str:
    """Returns the SHA-1 object id that git gives a file of this content when no filter changes it."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
