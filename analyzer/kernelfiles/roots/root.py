"""A root file system as its own system would see it: absolute links are resolved from its top, and no path leads out of
it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import IO, Protocol

from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.model import AuditError

__all__ = ["IMAGE_FOLDERS", "IMAGE_NAME", "FolderRoot", "MemoryRoot", "Root", "RootError", "follow_links"]

IMAGE_FOLDERS = ("boot", "")
"""The folders that have images of kernels in a root file system."""
IMAGE_NAME = re.compile(r"(?:vmlinu[xz]|bzImage|Image|linux)(?:-(.+))?")
"""The name of an image, with the release that it may end with."""

_MOST_LINKS = 40
"""The kernel follows as many links (path_resolution(7))."""
_MOST_NAMES = 20_000
_STEP = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class RootError(AuditError):
    """A root file system that cannot be read, or that contains a file of an implausible size."""


class Root(Protocol):
    """Access to files by their paths from the top, without a leading slash."""

    @property
    def label(self) -> str:
        """The name of the root in reports."""
        ...

    @property
    def image_folders(self) -> tuple[str, ...]:
        """The folders in which images of kernels are looked for."""
        ...

    def names(self, folder: str) -> list[str]:
        """Returns the sorted names in a folder. Empty if the folder does not exist or cannot be read."""
        ...

    def read(self, path: str, limit: int) -> bytes | None:
        """Returns the content of a regular file, None if it does not exist or cannot be read. Raises RootError if it
        has more than `limit` bytes.
        """
        ...


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def follow_links(path: str, link_at: Callable[[str], str | None]) -> str | None:
    """Returns the path that a path leads to inside of a root; None if it leads over too many links.

    `link_at` returns the target of a symbolic link, None for anything else. A part that does not exist is kept.
    """
    waiting = _parts(path)[::-1]
    done: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            done = done[:-1]
            continue
        target = link_at("/".join((*done, part)))
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            return None
        done = [] if target.startswith("/") else done
        waiting += _parts(target)[::-1]
    return "/".join(done)


class FolderRoot:
    """A folder as a root. Each part of a path is opened relative to the folder before it, so that neither links nor
    concurrent changes lead out.
    """

    image_folders = IMAGE_FOLDERS

    def __init__(self, path: str) -> None:
        self.label = path
        try:
            self._top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            hint = (
                f"; an image of a disk is {parameter('disks')}, one of a container {parameter('oci')}"
                if error.errno == errno.ENOTDIR
                else ""
            )
            raise RootError(f"{path}: cannot read: {error.strerror or error}{hint}") from error

    def close(self) -> None:
        """Closes the folder."""
        os.close(self._top)

    def _open(self, path: str, flags: int) -> int | None:
        waiting = _parts(path)[::-1]
        opened: list[int] = []
        links = 0
        try:
            while waiting:
                part = waiting.pop()
                if part == "..":
                    os.close(opened.pop()) if opened else None
                    continue
                here = opened[-1] if opened else self._top
                try:
                    found = os.open(part, _STEP if waiting else flags, dir_fd=here)
                except OSError as error:
                    links += 1
                    target = _link(part, here) if error.errno in (errno.ELOOP, errno.ENOTDIR) else None
                    if target is None or links > _MOST_LINKS:
                        return None
                    if target.startswith("/"):
                        while opened:
                            os.close(opened.pop())
                    waiting += _parts(target)[::-1]
                    continue
                if not waiting:
                    return found
                opened.append(found)
            return os.open(".", flags & ~os.O_NOFOLLOW, dir_fd=opened[-1] if opened else self._top)
        except OSError:
            return None
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def names(self, folder: str) -> list[str]:
        """See `Root`."""
        descriptor = self._open(folder, _FOLDER)
        if descriptor is None:
            return []
        try:
            return sorted(os.listdir(descriptor))[:_MOST_NAMES]
        except OSError:
            return []
        finally:
            os.close(descriptor)

    def stream(self, path: str) -> IO[bytes] | None:
        """Opens a regular file. Returns None if there is none."""
        descriptor = self._open(path, _FILE)
        if descriptor is None:
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        return os.fdopen(descriptor, "rb")

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Root`."""
        opened = self.stream(path)
        if opened is None:
            return None
        with opened as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise RootError(f"{self.label}: {path} is larger than {limit >> 20} MiB, which no such file is")
            try:
                return file.read(size)  # Python allocates as much as is asked for
            except OSError:
                return None


def _link(name: str, folder: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None


class MemoryRoot:
    """Files and links in memory, by their paths. `folders` are additional folders that are known to exist."""

    image_folders = IMAGE_FOLDERS

    def __init__(
        self, label: str, files: Mapping[str, bytes], links: Mapping[str, str], folders: frozenset[str]
    ) -> None:
        self.label = label
        self._files, self._links = files, links
        self._folders = folders

    def names(self, folder: str) -> list[str]:
        """See `Root`."""
        place = follow_links(folder, self._links.get)
        if place is None:
            return []
        start = f"{place}/" if place else ""
        every = (*self._files, *self._links, *self._folders)
        return sorted(
            {name[len(start) :].partition("/")[0] for name in every if name.startswith(start) and name != start}
        )[:_MOST_NAMES]

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Root`."""
        place = follow_links(path, self._links.get)
        found = None if place is None else self._files.get(place)
        if found is not None and len(found) > limit:
            raise RootError(f"{self.label}: {path} is larger than {limit >> 20} MiB, which no such file is")
        return found
