"""Root file systems that hold a Python of another architecture: an unpacked folder, or a tar archive of one (what
``docker export`` and ``debootstrap`` make). Nothing of them is run or unpacked here.
"""

from __future__ import annotations

import os
import stat
import tarfile
import tempfile
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from tailcall_audit.analyzer.kernelfiles.compression import Decompressed
from tailcall_audit.analyzer.kernelfiles.roots.root import follow_links
from tailcall_audit.analyzer.kernelfiles.tar import BoundedHeader, next_member
from tailcall_audit.analyzer.libraries import tar_errors
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import Kind, kind_of
from tailcall_audit.probes.reading import open_file, read_file

__all__ = ["Entry", "Root", "RootError", "open_root", "resolve"]

_MAX_FILE = 128 << 20
_MAX_ROOT = 4 << 30
"""Bytes of a root file system in an archive: a container image with a compiler has some 1 GB."""
_MAX_MEMBERS = 1_000_000
_PIECE = 1 << 20


class RootError(AuditError):
    """A root file system that cannot be read, or holds no Python for a guest."""


class Entry(NamedTuple):
    """The kind of a path: `link` is the target of a symbolic link, `is_folder` is True for a folder; else it is a file."""

    link: str = ""
    is_folder: bool = False


class Root(Protocol):
    """A root file system. Paths are relative to it, without a slash in front."""

    name: str

    def entry(self, path: str) -> Entry | None:
        """Returns the kind of a path, without following a link at its end; None if nothing is there."""
        ...

    def content(self, path: str) -> bytes:
        """Returns the bytes of a file; raises RootError."""
        ...

    def names(self, folder: str) -> list[str]:
        """Returns the names in a folder, sorted; none if there is no such folder."""
        ...


class _Folder:
    """A root file system in a folder."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    def entry(self, path: str) -> Entry | None:
        try:
            mode = os.lstat(self._path / path).st_mode
            if stat.S_ISLNK(mode):
                return Entry(os.readlink(self._path / path))
        except (OSError, ValueError):
            return None
        return Entry(is_folder=True) if stat.S_ISDIR(mode) else Entry() if stat.S_ISREG(mode) else None

    def content(self, path: str) -> bytes:
        try:
            return read_file(self._path / path, _MAX_FILE)
        except OSError as error:
            raise RootError(f"{self._path / path}: cannot read: {error.strerror or error}") from error

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(self._path / folder))
        except OSError:
            return []


class _Tar:
    """A root file system in a tar archive. If a name is there twice the last one counts, as with tar(1)."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._entries: dict[str, Entry] = {}
        self._members: dict[str, tarfile.TarInfo] = {}
        self._inside: dict[str, set[str]] = {}
        file = _decompressed(path)
        with tar_errors(self._broken):
            # It stays open as long as this object: contents are read when they are asked for.
            self._archive = tarfile.open(fileobj=file, mode="r:", tarinfo=BoundedHeader)  # noqa: SIM115
            while (item := next_member(self._archive)) is not None:
                # tarfile keeps every header.
                self._archive.members = []  # type: ignore[attr-defined]
                self._add(item)

    def _broken(self, reason: str) -> RootError:
        return RootError(f"{self.name}: no root file system in a tar archive, or a broken one: {reason}")

    def _add(self, item: tarfile.TarInfo) -> None:
        name = _plain(item.name)
        if len(self._entries) > _MAX_MEMBERS:
            raise RootError(f"{self.name}: more than {_MAX_MEMBERS:,} files")
        if not name:
            return
        if item.isfile():
            self._members[name] = item
        if item.isfile() or item.isdir():
            self._entries[name] = Entry(is_folder=item.isdir())
        elif item.issym():
            self._entries[name] = Entry(item.linkname)
        elif item.islnk():
            self._entries[name] = Entry(f"/{_plain(item.linkname)}")
        else:
            return
        while name:
            folder, _, last = name.rpartition("/")
            if last in self._inside.setdefault(folder, set()):
                break
            self._inside[folder].add(last)
            self._entries.setdefault(folder, Entry(is_folder=True))
            name = folder

    def entry(self, path: str) -> Entry | None:
        return self._entries.get(_plain(path))

    def content(self, path: str) -> bytes:
        item = self._members.get(_plain(path))
        if item is None:
            raise RootError(f"{self.name}: no file {path} in it")
        if item.size > _MAX_FILE:
            raise RootError(f"{self.name}: {path} has {item.size:,} bytes, more than fits into a guest")
        with tar_errors(self._broken):
            file = self._archive.extractfile(item)
            return b"" if file is None else file.read()

    def names(self, folder: str) -> list[str]:
        return sorted(self._inside.get(_plain(folder), ()))


def _decompressed(path: Path) -> IO[bytes]:
    """Returns an archive that can be read anywhere; a compressed one is decompressed into a file without a name."""
    try:
        with open_file(path) as file:
            start = file.read(9)
            file.seek(0)
            stream = Decompressed(file, start, str(path), _MAX_ROOT)
            spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the archive
            while part := stream.read(_PIECE):
                spool.write(part)
            spool.seek(0)
            return spool
    except OSError as error:
        raise RootError(f"{path}: cannot read: {error.strerror or error}") from error


def open_root(path: Path) -> Root:
    """Opens a folder or a tar archive; raises RootError."""
    kind = kind_of(path)
    if kind is Kind.FOLDER:
        return _Folder(path)
    if kind is Kind.FILE:
        return _Tar(path)
    raise RootError(f"{path}: {kind.value}: give a root file system with a Python: a folder, or a tar archive of one")


def _plain(path: str) -> str:
    """Returns a path without a slash in front and without empty parts and dots."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def resolve(root: Root, path: str) -> str | None:
    """Returns the path that a path leads to, with links followed inside of the root; None if nothing is there."""

    def link_at(place: str) -> str | None:
        found = root.entry(place)
        return (found.link or None) if found is not None else None

    place = follow_links(path, link_at)
    return place if not place or root.entry(place) is not None else None
