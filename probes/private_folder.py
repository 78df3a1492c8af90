"""A folder of this user for files that are trusted later, such as caches. Files that another user could have put there
are not trusted.

All files are opened relative to the folder's descriptor, so the folder that was checked is the one that is used.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tailcall_audit.probes.writing import TEMPORARY, replace_in

__all__ = ["PrivateFolder"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_CHUNK = 1 << 20


class PrivateFolder:
    """A folder that belongs to the user who runs this process and that no other user may write to.

    Each method raises OSError if the folder belongs to another user, is another user's link, or is not a folder. If
    only its mode lets others write, the mode is corrected; files that others have put there are not trusted, because
    they belong to those users.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def read(self, name: str, limit: int) -> bytes | None:
        """Returns the content of a regular file of at most `limit` bytes that only this user may write to; None for any
        other file. Raises FileNotFoundError if there is no file of that name.
        """
        with self._opened() as folder:
            return _read(folder, name, limit)

    def write(self, name: str, data: bytes) -> None:
        """Writes a file completely or not at all. Replaces anything of that name (a link, another user's file)."""
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        with self._opened() as folder:
            replace_in(folder, name, data)

    def names(self) -> list[str]:
        """Returns the names of all files, the last modified first. Unfinished files are listed too."""
        with self._opened() as folder:
            found = []
            for name in os.listdir(folder):
                with suppress(OSError):
                    found.append((os.lstat(name, dir_fd=folder).st_mtime_ns, name))
            return [name for _, name in sorted(found, reverse=True)]

    def age(self, name: str, now: float) -> float:
        """Returns the seconds since a file was modified; raises OSError if it is not there."""
        with self._opened() as folder:
            return now - os.lstat(name, dir_fd=folder).st_mtime

    def touch(self, name: str) -> None:
        """Sets a file's modification time to now."""
        with self._opened() as folder:
            os.utime(name, dir_fd=folder, follow_symlinks=False)

    def remove(self, name: str) -> None:
        """Removes a file; does nothing if it does not exist."""
        with self._opened() as folder, suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        ours = os.geteuid()
        if os.path.islink(self.path) and os.lstat(self.path).st_uid != ours:
            raise PermissionError(errno.EPERM, "it is a link of another user's", self.path)
        folder = os.open(self.path, _FOLDER)
        try:
            state = os.fstat(folder)
            if state.st_uid != ours:
                raise PermissionError(errno.EPERM, "it belongs to another user", self.path)
            if state.st_mode & _OTHERS_WRITE:
                os.fchmod(folder, 0o700)
            yield folder
        finally:
            os.close(folder)


def _read(folder: int, name: str, limit: int) -> bytes | None:
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        raise
    except OSError:
        return None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & _OTHERS_WRITE:
            return None
        if state.st_size > limit or name.startswith(TEMPORARY):
            return None
        parts = []
        left = state.st_size
        while left and (part := os.read(descriptor, min(left, _CHUNK))):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    return b"".join(parts)
