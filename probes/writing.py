"""Writes files: a regular file completely or not at all, and anything else (a device, a FIFO, an open descriptor) in
place.

The kernel follows links, with the restrictions of its sysctl fs.protected_symlinks; a dangling link is refused. A file
that is replaced keeps its owner, group, access list and permissions, but not its set-user-ID, set-group-ID and sticky
bits.
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

__all__ = ["TEMPORARY", "replace_in", "write_file", "write_folder"]

TEMPORARY = ".tailcall-audit-"
"""The prefix of the names of unfinished files. Such a file is left behind only if SIGKILL ends this process or the
machine stops.
"""
_ACL = "system.posix_acl_access"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_DESCRIPTORS = re.compile(r"/proc/(?:self|thread-self|(\d+)(?:/task/\d+)?)/fd")
_MAX_LINKS = 40
"""The number of links that the kernel follows at most (path_resolution(7))."""
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)


def write_file(path: str | os.PathLike[str], data: bytes | bytearray) -> None:
    """Writes `data` to `path`; raises OSError.

    A regular file is replaced atomically: a reader sees the old or the new content, and a failure leaves the old
    content and no other file. SIGINT, SIGTERM, SIGHUP and SIGQUIT are held back in the calling thread until the file is
    written. Other hard links keep the old content. A device, a FIFO (it waits for a reader) and an open descriptor
    (``/dev/fd/3``, ``/dev/stdout``) are written in place.
    """
    name = os.fspath(path)
    descriptor = _own_descriptor(name)
    if descriptor is not None:
        # Opened again by its path, a file would be written from its start, and a socket could not be opened.
        _write(descriptor, data)
        return
    try:
        # The kernel follows the links and checks the permissions: a check before opening would be a race.
        existing = os.open(name, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        if os.path.islink(name):
            raise FileNotFoundError(errno.ENOENT, "a link to a file that does not exist", name) from None
        _replace(name, data, None)
        return
    try:
        if not stat.S_ISREG(os.fstat(existing).st_mode):
            _write(existing, data)
            return
        target = os.path.realpath(f"/proc/self/fd/{existing}" if os.path.isdir("/proc/self/fd") else name)
        _replace(target, data, existing)
    finally:
        os.close(existing)


def write_folder(path: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Makes a folder with these files, completely or not at all. Raises OSError, also if the name exists already.

    SIGINT, SIGTERM, SIGHUP and SIGQUIT are held back in the calling thread until the folder is there.
    """
    name = os.path.abspath(os.fspath(path))
    parent = os.path.dirname(name)
    temporary = os.path.join(parent, f"{TEMPORARY}{os.urandom(8).hex()}")
    if os.path.lexists(name):
        raise FileExistsError(errno.EEXIST, "it is there already: name a new folder", name)
    with _undisturbed():
        os.mkdir(temporary)
        try:
            for file, data in files.items():
                with open(os.path.join(temporary, file), "xb") as out:
                    out.write(data)
            # Anything that was made there meanwhile is not replaced, unless it is an empty folder (rename(2)).
            os.rename(temporary, name)
        except BaseException:
            for file in files:
                with suppress(OSError):
                    os.unlink(os.path.join(temporary, file))
            with suppress(OSError):
                os.rmdir(temporary)
            raise


def _own_descriptor(name: str) -> int | None:
    """Returns the number of this process's descriptor that a path names, such as /dev/stdout or /dev/fd/3; None for
    other paths.
    """
    for _ in range(_MAX_LINKS):
        folder, last = os.path.split(os.path.abspath(name))
        folder = os.path.realpath(folder)
        match = _DESCRIPTORS.fullmatch(folder)
        if match is not None and match.group(1) in (None, str(os.getpid())):
            return int(last) if last.isascii() and last.isdigit() and len(last) < 10 else None
        name = os.path.join(folder, last)
        try:
            name = os.path.join(folder, os.readlink(name))
        except OSError:
            return None
    return None


def _write(descriptor: int, data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            waiting = select.poll()
            waiting.register(descriptor, select.POLLOUT)
            waiting.poll()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Holds back the signals that would end this process while it writes."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _replace(target: str, data: bytes | bytearray, existing: int | None) -> None:
    """Replaces `target` with a new file. `existing` is a descriptor of the old file, if there is one."""
    parent, last = os.path.split(target)
    if not last:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    folder = os.open(parent or ".", _FOLDER)
    try:
        if existing is not None and not _is_there(last, folder, existing):
            raise FileNotFoundError(errno.ENOENT, "it was removed or replaced meanwhile", target)
        # A replacement is private until it has the old file's owner and permissions; the umask applies to a new file.
        mode = 0o666 if existing is None else 0o600
        _put(folder, last, data, mode, None if existing is None else lambda new: _take_over(new, existing, target))
    finally:
        os.close(folder)


def replace_in(folder: int, name: str, data: bytes | bytearray) -> None:
    """Writes a file that only its owner can read, and replaces anything of that name in a folder; raises OSError.

    `folder` is a descriptor. A link is replaced, not followed.
    """
    _put(folder, name, data, 0o600, None)


def _put(folder: int, name: str, data: bytes | bytearray, mode: int, prepare: Callable[[int], None] | None) -> None:
    """Writes a new file, calls `prepare` with its descriptor, and renames the file to `name`."""
    temporary = f"{TEMPORARY}{os.urandom(8).hex()}"
    with _undisturbed():
        new = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
        try:
            try:
                _write(new, data)
                if prepare is not None:
                    prepare(new)
                os.fsync(new)
            finally:
                os.close(new)
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise


def _is_there(last: str, folder: int, existing: int) -> bool:
    try:
        return os.path.samestat(os.stat(last, dir_fd=folder, follow_symlinks=False), os.fstat(existing))
    except FileNotFoundError:
        return False


def _take_over(new: int, existing: int, target: str) -> None:
    """Gives the new file the owner, group, permissions and access list of the old one. Raises PermissionError if that
    is not allowed.
    """
    old, made = os.fstat(existing), os.fstat(new)
    if (old.st_uid, old.st_gid) != (made.st_uid, made.st_gid):
        try:
            os.fchown(new, old.st_uid, old.st_gid)
        except OSError as error:
            raise PermissionError(
                errno.EPERM, "it belongs to another user or group, which cannot be kept", target
            ) from error
    os.fchmod(new, old.st_mode & 0o777)
    if not hasattr(os, "getxattr"):
        return  # Linux only
    try:
        access = os.getxattr(existing, _ACL)
    except OSError:
        return  # no access list, or a file system without them
    os.setxattr(new, _ACL, access)
