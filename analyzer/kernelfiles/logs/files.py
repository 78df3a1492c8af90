"""Opens the log texts in a file, a folder or an archive: journals, dmesg, sosreports, sysdumps, console logs.

Links are not followed and members of archives are read as streams. The number of files, their total size and the
unpacked size of each are limited.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from tailcall_audit.analyzer.kernelfiles.compression import BrokenDataError, Decompressed, Joined, Readable
from tailcall_audit.analyzer.kernelfiles.tar import stream_members
from tailcall_audit.analyzer.libraries import tar_errors
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import Kind, expanded, kind_of
from tailcall_audit.probes.reading import open_file

__all__ = ["Log", "LogError", "logs_of"]

_MOST_FILES = 100_000
_MOST_BYTES = 8 << 30
_MOST_OF_ONE = 2 << 30
_HEAD = 4096
_JOURNAL = b"LPKSHHRH"
_TAR = slice(257, 262)
_DEPTH = 64


class LogError(AuditError):
    """A text that cannot be read."""


class Log(NamedTuple):
    """A text: its name, and its bytes as a stream. If it was not read, `skipped` is the reason."""

    name: str
    content: Readable | None
    skipped: str | None = None


class _Budget:
    """Counts the bytes that are read from all texts together. Raises LogError above the limit."""

    def __init__(self, source: Readable, left: list[int]) -> None:
        self._source, self._left = source, left

    def read(self, size: int = -1, /) -> bytes:
        part = self._source.read(size if size >= 0 else 1 << 20)
        self._left[0] -= len(part)
        if self._left[0] < 0:
            raise LogError(f"more than {_MOST_BYTES >> 30} GiB of text: give a part of it")
        return part


def _broken(name: str, words: str) -> LogError:
    return LogError(f"{name}: a broken archive: {words}")


class _Member:
    """A file in an archive, which may be cut off within the file."""

    def __init__(self, file: IO[bytes], archive: str) -> None:
        self._file, self._archive = file, archive

    def read(self, size: int = -1, /) -> bytes:
        with tar_errors(partial(_broken, self._archive)):
            return self._file.read(size)


def _text(name: str, source: Readable, left: list[int], inside: int) -> Iterator[Log]:
    """Yields a file as a text. If the file is an archive, yields its members."""
    start = source.read(9)
    plain: Readable = Decompressed(Joined(start, source), start, name, _MOST_OF_ONE)
    head = b""
    while len(head) < _HEAD and (part := plain.read(_HEAD - len(head))):
        head += part
    joined = _Budget(Joined(head, plain), left)
    if head[_TAR] == b"ustar":
        if inside:
            yield Log(name, None, "an archive in an archive: unpack it")
            return
        yield from _members(name, joined, left)
    elif head.startswith(_JOURNAL):
        yield Log(name, None, f"a binary journal: journalctl --file {name} -k | tailcall-audit --text -")
    elif head and b"\0" not in head:
        yield Log(name, joined)


def _members(name: str, source: Readable, left: list[int]) -> Iterator[Log]:
    fail = partial(_broken, name)
    too_many = LogError(f"{name}: more than {_MOST_FILES:,} files")
    for archive, member in stream_members(source, fail, _MOST_FILES, too_many):
        if not member.isreg():
            continue
        with tar_errors(fail):
            file = archive.extractfile(member)
        if file is not None:
            yield from _guarded(f"{name}:{member.name[-200:]}", _Member(file, name), left)


def _guarded(name: str, file: Readable, left: list[int]) -> Iterator[Log]:
    try:
        yield from _text(name, file, left, inside=1)
    except BrokenDataError as error:
        yield Log(name, None, str(error))


def _walk(folder: Path, left: list[int]) -> Iterator[Log]:
    count = 0
    waiting = [(folder, 0)]
    while waiting:
        place, depth = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            yield Log(str(place), None, f"cannot read: {error.strerror or error}")
            continue
        for entry in entries:
            count += 1
            if count > _MOST_FILES:
                raise LogError(f"{folder}: more than {_MOST_FILES:,} files: give a part of it")
            if entry.is_dir(follow_symlinks=False):
                if depth < _DEPTH:
                    waiting.append((Path(entry.path), depth + 1))
            elif entry.is_file(follow_symlinks=False):
                yield from _file(entry.path, left)


def _file(path: str, left: list[int]) -> Iterator[Log]:
    try:
        with open_file(path) as file:
            yield from _text(path, file, left, inside=0)
    except (OSError, BrokenDataError) as error:
        yield Log(path, None, str(getattr(error, "strerror", None) or error))


def logs_of(name: str) -> Iterator[Log]:
    """Yields the texts of a file, a folder, an archive, or standard input (``-``). Each text must be read before the
    next one is requested.

    Raises LogError if nothing can be read.
    """
    left = [_MOST_BYTES]
    if name == "-":
        if sys.stdin is None:
            raise LogError("-: standard input is closed")
        yield from _text("standard input", sys.stdin.buffer, left, inside=0)
        return
    path = expanded(name)
    kind = kind_of(path)
    if kind is Kind.FOLDER:
        yield from _walk(path, left)
        return
    try:
        with open_file(path) as file:
            yield from _text(str(path), file, left, inside=0)
    except OSError as error:
        hint = "; to read from a pipe, say -" if kind is Kind.OTHER and not stat.S_ISBLK(os.stat(path).st_mode) else ""
        raise LogError(f"{path}: cannot read: {error.strerror or error}{hint}") from error
