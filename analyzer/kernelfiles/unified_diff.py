"""Patches in the unified format: read from text, and applied in memory as patch(1) does, by context, with an offset and
a fuzz of two lines.

GNU patch 2.7 looks for a hunk at its line number, then farther and farther away. It repeats this without the outermost
line of context, and without the outermost two (its manual, "Imperfect patches"). Nothing is written and no program is
run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["Applied", "FilePatch", "Hunk", "PatchError", "apply_patch", "read_patch", "reversed_patch"]

_HUNK = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@ ?(.*)")
_MOST_FUZZ = 2
_NOWHERE = b"/dev/null"
_NO_NEWLINE = b"\\"


class PatchError(ValueError):
    """A patch that cannot be read: it is cut off, binary, or leads out of the tree. The message says which."""


class Hunk(NamedTuple):
    """A hunk: the line (from 1) at which the old text stands, the heading behind the marks, and lines as (mark, text).

    A mark is ``b" "``, ``b"-"`` or ``b"+"``. A text has its line break, but for the last line of a file without one.
    """

    start: int
    heading: str
    lines: tuple[tuple[bytes, bytes], ...]

    @property
    def old(self) -> list[bytes]:
        """The lines that a hunk looks for."""
        return [text for mark, text in self.lines if mark != b"+"]


class FilePatch(NamedTuple):
    """The hunks of one file. `old` is None for a new file, `new` is None for a deleted one."""

    old: str | None
    new: str | None
    hunks: tuple[Hunk, ...]


class Applied(NamedTuple):
    """The result of a patch: the changed files by path (None: deleted), the hunks that did not apply, and how the rest
    differed.

    `failed` are pairs of a path and the headings of its hunks. `fuzz` is the most context that was left out at an end,
    in lines.
    """

    files: dict[str, bytes | None]
    failed: tuple[tuple[str, tuple[str, ...]], ...]
    fuzz: int = 0


def _path(line: bytes) -> str | None:
    """Returns the path of a ``---`` or ``+++`` line below the top directory; None for no file. Raises PatchError."""
    name = line[4:].split(b"\t")[0].rstrip(b"\r\n ")
    if name == _NOWHERE:
        return None
    text = name.decode("utf-8", "replace")
    first, *parts = text.split("/")
    if not first or not parts or any(part in ("", ".", "..") for part in parts) or '"' in text:
        raise PatchError(f"{text[:200]!r} is no path of a file below a/ or b/")
    return "/".join(parts)


def _hunk(lines: Sequence[bytes], place: int) -> tuple[Hunk, int]:
    match = _HUNK.match(lines[place])
    assert match is not None  # the caller's condition
    old, new = (1 if size is None else int(size) for size in match.group(2, 3))
    found: list[tuple[bytes, bytes]] = []
    place += 1
    while old > 0 or new > 0:
        line = lines[place] if place < len(lines) else b""
        if line.startswith(_NO_NEWLINE) and found:
            found[-1] = found[-1][0], found[-1][1].rstrip(b"\r\n")
            place += 1
            continue
        mark = line[:1] if line.strip(b"\r\n") else b" "  # mailers remove the blank of an empty line
        if not line or mark not in (b" ", b"-", b"+"):
            raise PatchError("a hunk is cut off")
        old -= mark != b"+"
        new -= mark != b"-"
        found.append((mark, line[1:] if line[:1] == mark else line))
        place += 1
    if place < len(lines) and lines[place].startswith(_NO_NEWLINE):
        found[-1] = found[-1][0], found[-1][1].rstrip(b"\r\n")
        place += 1
    return Hunk(int(match.group(1)), match.group(4).decode("utf-8", "replace").strip(), tuple(found)), place


def read_patch(text: bytes) -> list[FilePatch]:
    """Returns the files that a text changes; text around them is skipped. Raises PatchError."""
    lines = text.splitlines(keepends=True)
    found: list[FilePatch] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        if line.startswith((b"GIT binary patch", b"Binary files ")):
            raise PatchError("it has a binary file")
        if line.startswith((b"rename from ", b"copy from ")):
            raise PatchError("it renames or copies a file, which is applied by git only")
        if line.startswith(b"--- ") and place + 1 < len(lines) and lines[place + 1].startswith(b"+++ "):
            old, new = _path(line), _path(lines[place + 1])
            place += 2
            hunks = []
            while place < len(lines) and _HUNK.match(lines[place]):
                hunk, place = _hunk(lines, place)
                hunks.append(hunk)
            if not hunks or (old is None and new is None):
                raise PatchError("a file has no hunks")
            found.append(FilePatch(old, new, tuple(hunks)))
            continue
        place += 1
    return found


def reversed_patch(patch: Sequence[FilePatch]) -> list[FilePatch]:
    """Returns the reverse of a patch. Its hunks are looked for at the lines of the original ones."""
    turned = {b"+": b"-", b"-": b"+", b" ": b" "}
    return [
        FilePatch(
            file.new,
            file.old,
            tuple(hunk._replace(lines=tuple((turned[mark], text) for mark, text in hunk.lines)) for hunk in file.hunks),
        )
        for file in patch
    ]


def _places(expected: int, first: int, last: int) -> Iterator[int]:
    """Yields places within bounds, those nearest to the expected one first."""
    expected = min(max(expected, first), max(first, last))
    for distance in range(max(expected - first, last - expected) + 1):
        for place in dict.fromkeys((expected + distance, expected - distance)):
            if first <= place <= last:
                yield place


class _Form(NamedTuple):
    """A hunk with some of its context left out: its lines, the number of lines that are left out at the start, and the
    ends of the file that it must be at.

    A hunk with less context before than behind is of the file's first lines, one with less behind is of its last ones.
    """

    kept: list[tuple[bytes, bytes]]
    gone: int
    at_start: bool
    at_end: bool


def _contexts(hunk: Hunk) -> tuple[int, int]:
    marks = [mark for mark, _ in hunk.lines]
    before = next((index for index, mark in enumerate(marks) if mark != b" "), len(marks))
    behind = next((index for index, mark in enumerate(reversed(marks)) if mark != b" "), len(marks))
    return before, behind


def _form(hunk: Hunk, fuzz: int) -> _Form:
    before, behind = _contexts(hunk)
    most = max(before, behind)
    first, last = fuzz + before - most, fuzz + behind - most
    kept = list(hunk.lines[max(0, first) : len(hunk.lines) - max(0, last)])
    return _Form(kept, max(0, first), first < 0 and hunk.start <= 1, last < 0)


class _Place(NamedTuple):
    """The place of a hunk: the line (from 0), the lines that were compared, the fuzz, and the distance from the
    expected line.
    """

    line: int
    kept: list[tuple[bytes, bytes]]
    fuzz: int
    offset: int


def _find(lines: list[bytes], hunk: Hunk, first: int, offset: int) -> _Place | None:
    """Returns the place of a hunk; None if it does not apply."""
    said = hunk.start - 1 if hunk.old else hunk.start
    for fuzz in range(min(_MOST_FUZZ, max(_contexts(hunk))) + 1):
        form = _form(hunk, fuzz)
        wanted = [text for mark, text in form.kept if mark != b"+"]
        last = len(lines) - len(wanted)
        places: Iterable[int] = _places(said + form.gone + offset, first, last)
        if form.at_start:
            places = (0,) if first == 0 and (not form.at_end or last == 0) else ()
        elif form.at_end:
            places = (last,) if last >= first else ()
        for place in places:
            if lines[place : place + len(wanted)] == wanted:
                return _Place(place, form.kept, fuzz, place - form.gone - said)
    return None


def _apply_file(data: bytes, file: FilePatch) -> tuple[bytes, list[str], int]:
    """Returns the file afterwards, the headings of the hunks that did not apply, and the most fuzz."""
    lines = data.splitlines(keepends=True)
    failed: list[str] = []
    first = shift = most = 0
    for hunk in file.hunks:
        found = _find(lines, hunk, first, shift)
        if found is None:
            failed.append(hunk.heading)
            continue
        new = [text for mark, text in found.kept if mark != b"-"]
        old_size = sum(mark != b"+" for mark, _ in found.kept)
        shift = found.offset + len(new) - old_size
        lines[found.line : found.line + old_size] = new
        first = found.line + len(new)
        most = max(most, found.fuzz)
    return b"".join(lines), failed, most


def apply_patch(read: Callable[[str], bytes | None], patch: Sequence[FilePatch]) -> Applied:
    """Applies a patch to files; `read` returns the content of a path, or None if there is no such file."""
    files: dict[str, bytes | None] = {}
    failed: list[tuple[str, tuple[str, ...]]] = []
    most = 0
    for file in patch:
        path = file.new or file.old
        assert path is not None  # read_patch() makes no other
        there = files[path] if path in files else read(path)
        if (file.old is None) != (there is None) or (
            file.old is not None and file.new is not None and file.old != file.new
        ):
            failed.append((path, ()))
            continue
        data, headings, fuzz = _apply_file(there or b"", file)
        most = max(most, fuzz)
        if headings or (file.new is None and data):
            failed.append((path, tuple(headings)))
        files[path] = None if file.new is None else data
    return Applied(files, tuple(failed), most)
