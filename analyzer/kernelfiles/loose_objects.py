"""Checks loose git objects before libgit2 reads them: up to version 1.9.7, it reads a truncated one without end.

A full disk or a loss of power leaves such files. git itself refuses them at once. Decompression with zlib shows if a
file is complete.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pygit2

from tailcall_audit.analyzer.paths import is_file
from tailcall_audit.probes.reading import open_file, read_file

__all__ = ["BrokenObjectError", "LooseObjects", "common_directory", "object_folders"]

_CHUNK = 1 << 20
_MAX_SIZE = 256 << 20
_MAX_OBJECTS = 50_000
_MAX_ALTERNATES = 10
_MAX_POINTER = 1 << 16


class BrokenObjectError(ValueError):
    """A loose object that is cut off or broken. The message names it."""


def common_directory(repository: pygit2.Repository) -> Path:
    """Returns the directory that a worktree shares with its repository: objects, refs, shallow."""
    common = Path(repository.path)
    pointer = common / "commondir"
    try:
        if is_file(pointer):
            return (common / os.fsdecode(read_file(pointer, _MAX_POINTER)).strip()).resolve()
    except (OSError, ValueError):
        pass
    return common


class LooseObjects:
    """The loose objects of a repository and of those that it borrows from."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self._folders = list(object_folders(common_directory(repository) / "objects"))
        self._sound: set[str] = set()
        self._all_checked = False

    def check(self, name: str) -> None:
        """Raises BrokenObjectError if an object is an incomplete loose file; git checks objects in packs."""
        if name in self._sound or self._all_checked:
            return
        for folder in self._folders:
            path = folder / name[:2] / name[2:]
            if is_file(path):
                _check_file(path, name)
        self._sound.add(name)

    def check_all(self) -> None:
        """Checks every loose object; raises BrokenObjectError, also if there are too many to check."""
        count = 0
        for folder in () if self._all_checked else self._folders:
            for path in _loose_files(folder):
                count += 1
                if count > _MAX_OBJECTS:
                    raise BrokenObjectError(f"more than {_MAX_OBJECTS} loose objects, too many to check: run `git gc`")
                _check_file(path, path.parent.name + path.name)
        self._all_checked = True


def object_folders(objects: Path, depth: int = 0) -> Iterator[Path]:
    """Yields the folder of a repository's objects, and the folders that it borrows from (its alternates, and theirs)."""
    yield objects
    alternates = objects / "info/alternates"
    if depth >= _MAX_ALTERNATES or not is_file(alternates):
        return
    try:
        lines = os.fsdecode(read_file(alternates, _MAX_POINTER)).split("\n")[:_MAX_ALTERNATES]
    except OSError:
        return
    for line in lines:
        if line and not line.startswith("#"):
            yield from object_folders(objects / line, depth + 1)


def _loose_files(objects: Path) -> Iterator[Path]:
    for number in range(256):
        try:
            names = os.listdir(objects / f"{number:02x}")
        except OSError:
            continue
        for name in names:
            path = objects / f"{number:02x}" / name
            if is_file(path):
                yield path


def _check_file(path: Path, name: str) -> None:
    """Inflates a file to its end, a part at a time; raises BrokenObjectError."""
    inflater = zlib.decompressobj()
    size = 0
    try:
        with open_file(path) as file:
            while not inflater.eof:
                data = inflater.unconsumed_tail or file.read(_CHUNK)
                if not data:
                    break
                size += len(inflater.decompress(data, _CHUNK))
                if size > _MAX_SIZE:
                    raise BrokenObjectError(f"object {name} is larger than {_MAX_SIZE >> 20} MiB")
    except (OSError, zlib.error) as error:
        raise BrokenObjectError(f"object {name} is broken ({error}): run `git fsck`") from error
    if not inflater.eof:
        raise BrokenObjectError(f"object {name} is cut off: run `git fsck`")
