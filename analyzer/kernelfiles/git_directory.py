"""Checks a git directory before libgit2 and git read it: both open any file that has one of git's names, and wait for a
pipe without end.

No pipe or device may be in it, at the end of a link, among the files that its configuration includes, or in the
repositories from which it borrows objects. Only the files that name others are read. Sockets are ignored: git's own
watcher has one, and a socket cannot be opened as a file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from tailcall_audit.probes.reading import open_file

__all__ = ["GitDirectoryError", "check_git_directories"]

_MAX_ENTRIES = 1_000_000
"""Files of a git directory. A clone of the kernel has some thousands, one that was never packed some hundred thousands.
"""
_MAX_TEXT = 1 << 20
"""Bytes of a file that names others: a configuration, a list of alternates."""
_MAX_META = 256 << 20
"""Bytes of a list of references or of cut-off commits, which are read whole."""
_MAX_INCLUDED = 20
_READ_WHOLE = ("HEAD", "config", "config.worktree", "commondir", "gitdir", "packed-refs", "shallow", "info/grafts")
_INCLUDE = re.compile(
    rb"^[ \t]*(?:\[[^\]\n]*\][ \t]*)?path[ \t]*=[ \t]*\"?([^\"\n\0]{1,4096})", re.MULTILINE | re.IGNORECASE
)


class GitDirectoryError(ValueError):
    """A git directory with a pipe or a device in it, or with too many files. The message names it."""


def check_git_directories(path: Path) -> None:
    """Checks every git directory that a search from `path` upwards can find; raises GitDirectoryError."""
    for place in (path, *path.parents):
        if (place / ".git").is_symlink() or os.path.lexists(place / ".git"):
            _check(place / ".git")
        if all(os.path.lexists(place / name) for name in ("HEAD", "objects", "refs")):
            _check(place)


def _check(place: Path) -> None:
    """Checks one directory, or the one that a file names (``gitdir: …``, as a worktree and a submodule have it)."""
    mode = _mode(place)
    if mode is None:
        return
    if stat.S_ISREG(mode):
        pointer = _text(place).partition(b"gitdir:")[2].strip()
        if pointer:
            _check_folders(place.parent / os.fsdecode(pointer.replace(b"\0", b"")))
        return
    _check_folders(place)


def _once(waiting: list[Path], seen: set[str]) -> Iterator[Path]:
    """Takes paths from `waiting`, to which the caller adds meanwhile, until none is left. Each place is yielded once."""
    while waiting:
        path = waiting.pop()
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path


def _check_folders(directory: Path) -> None:
    """Checks a git directory, the one that it shares with its main worktree, and what it borrows from."""
    seen: set[str] = set()
    count = 0
    waiting = [directory]
    for folder in _once(waiting, seen):
        count += _check_entries(folder, seen, _MAX_ENTRIES - count)
        for name in _READ_WHOLE:
            _check_size(folder / name)
        waiting += _named(folder / "commondir", folder)
        for objects in (folder / "objects", folder):
            waiting += _named(objects / "info/alternates", objects)
        for name in ("config", "config.worktree"):
            _check_included(folder / name)


def _check_entries(folder: Path, seen: set[str], left: int) -> int:
    """Checks the entries in a folder and below it; returns their number."""
    count = 0
    waiting = [str(folder)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        count += len(entries)
        if count > left:
            raise GitDirectoryError(f"{folder} has more than {_MAX_ENTRIES:,} files: run `git gc`")
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                continue
            mode = _mode(Path(entry.path))
            if mode is None or stat.S_ISREG(mode) or stat.S_ISSOCK(mode):
                continue
            if _waits(mode):
                raise GitDirectoryError(f"{entry.path} is a pipe or a device")
            real = os.path.realpath(entry.path)
            if real not in seen:
                seen.add(real)
                waiting.append(entry.path)
    return count


def _mode(path: Path) -> int | None:
    """Returns the mode of the file that a path leads to; None if there is none, or this process may not look at it."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return None


def _waits(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _text(path: Path) -> bytes:
    """Returns the content of a small file; nothing if it is no regular file. Raises GitDirectoryError if it is large."""
    mode = _mode(path)
    if mode is None:
        return b""
    if _waits(mode):
        raise GitDirectoryError(f"{path} is a pipe or a device")
    try:
        with open_file(path) as file:
            data = file.read(_MAX_TEXT + 1)
    except OSError:
        return b""
    if len(data) > _MAX_TEXT:
        raise GitDirectoryError(f"{path} is larger than {_MAX_TEXT >> 20} MiB")
    return data


def _check_size(path: Path) -> None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return
    if stat.S_ISREG(found.st_mode) and found.st_size > _MAX_META:
        raise GitDirectoryError(f"{path} is larger than {_MAX_META >> 20} MiB")


def _named(file: Path, folder: Path) -> Iterator[Path]:
    """Yields the folders that a file names, each on a line, as seen from `folder`."""
    for line in _text(file).split(b"\n")[:_MAX_INCLUDED]:
        name = line.strip()
        if name and not name.startswith(b"#") and b"\0" not in name:
            yield folder / os.fsdecode(name)


def _check_included(config: Path) -> None:
    """Checks the files that a configuration includes (``include.path``), and those that these include."""
    waiting, seen = [config], set[str]()
    for path in _once(waiting, seen):
        if len(seen) > _MAX_INCLUDED:
            raise GitDirectoryError(f"{config} includes more than {_MAX_INCLUDED} files")
        # A path in another setting is checked too, which does no harm.
        for match in _INCLUDE.finditer(_text(path)):
            waiting.append(path.parent / os.path.expanduser(os.fsdecode(match.group(1).strip())))
