"""JSON read piece by piece, in memory for one of them: the nodes of a list, one after the other.

The standard library's decoder reads each piece at 400 MB/s. What is walked through instead of read whole are the arrays
and objects that lists of nodes have around their nodes. Several texts may follow each other, each behind a few words
(``web-1 | SUCCESS => {…}``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.nodes.types import NodesError

__all__ = ["Piece", "json_pieces"]

_MOST = 64 << 20
"""Letters of one piece. A node of Kubernetes has some 20 KB, the facts of a host up to 1 MB."""
_CHUNK = 1 << 18
_MARGIN = 64
"""Letters before the end of what was read in which a fault may be that the rest is missing."""
_DEPTH = 8
_BLANK = re.compile(r"[ \t\r\n,]*")
_SPACE = re.compile(r"[ \t\r\n]*")
_AROUND = frozenset(("items", "hostvars", "_meta", "plays", "tasks", "hosts", "results", "rows", "data", "nodes"))
"""The keys under which nodes stand."""


class Piece(NamedTuple):
    """A value, and where it stood: the keys above it (an array's is empty), and the words before its text.

    `ends` marks the end of a text; it has no value.
    """

    keys: tuple[str, ...]
    value: object
    label: str = ""
    ends: bool = False


class _Source:
    """A text of which a window is in memory."""

    def __init__(self, read: Callable[[int], str], path: str) -> None:
        self._read, self._path = read, path
        self._decoder = json.JSONDecoder()
        self._buffer, self._at, self._before = "", 0, 0
        self._ended = False

    def more(self, size: int = _CHUNK) -> bool:
        """Reads on; returns False at the end."""
        part = "" if self._ended else self._read(size)
        self._ended = not part
        if part:
            self._before += self._at
            self._buffer, self._at = self._buffer[self._at :] + part, 0
        return bool(part)

    def fail(self, words: str, offset: int = 0) -> NodesError:
        return NodesError(f"{self._path}: at letter {self._before + self._at + offset + 1:,}: {words}")

    def peek(self, skip: re.Pattern[str] = _SPACE) -> str:
        """Returns the next letter behind blanks; nothing at the end."""
        while True:
            match = skip.match(self._buffer, self._at)
            self._at = self._at if match is None else match.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self.more():
                return ""

    def take(self, letter: str) -> None:
        """Steps over a letter; raises NodesError if it is another one."""
        found = self.peek()
        if found != letter:
            raise self.fail(f"expected {letter!r}, and {'nothing follows' if not found else f'{found!r} is there'}")
        self._at += 1

    def line_before(self, marks: str) -> str:
        """Returns the words in front of the next of these letters, of at most a line of 1,000; steps over them."""
        while True:
            found = re.search(rf"[{re.escape(marks)}]", self._buffer[self._at : self._at + 1000])
            if found is not None:
                words = self._buffer[self._at : self._at + found.start()]
                self._at += found.start()
                return words
            if len(self._buffer) - self._at >= 1000 or not self.more():
                raise self.fail("no JSON here")

    def small(self) -> tuple[bool, object]:
        """Returns True and the next value if all of it is in memory already, with something behind it."""
        try:
            found, end = self._decoder.raw_decode(self._buffer, self._at)
        except (ValueError, RecursionError):
            return False, None
        if end >= len(self._buffer):
            return False, None
        self._at = end
        return True, found

    def value(self) -> object:
        """Reads a whole value; raises NodesError if it is none, or larger than any node."""
        self.peek()
        size = _CHUNK
        while True:
            try:
                found, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                near_end = error.pos + _MARGIN >= len(self._buffer) or error.msg.startswith("Unterminated string")
                if len(self._buffer) - self._at > _MOST:
                    raise self.fail(f"one value of more than {_MOST >> 20} MiB, which no node has") from error
                if not near_end or not self.more(size):
                    raise self.fail(f"broken JSON: {error.msg}", error.pos - self._at) from error
                size *= 2
            except (ValueError, RecursionError) as error:
                raise self.fail(
                    f"JSON that is nested too deep: {error}" if isinstance(error, RecursionError) else str(error)
                ) from error
            else:
                if end < len(self._buffer) or not self.more():
                    self._at = end if end <= len(self._buffer) else len(self._buffer)
                    return found


def _walk(source: _Source, keys: tuple[str, ...], label: str) -> Iterator[Piece]:
    """Yields the members of an array or object that holds nodes."""
    first = source.peek()
    if len(keys) > _DEPTH:
        raise source.fail("JSON that is nested deeper than any list of nodes")
    source.take(first)
    last = "]" if first == "[" else "}"
    while (letter := source.peek(_BLANK)) != last:
        if not letter:
            raise source.fail(f"cut off: {last!r} is missing")
        key = ""
        if first == "{":
            name = source.value()
            if not isinstance(name, str):
                raise source.fail("a key that is no text")
            key = name
            source.take(":")
        inside = (*keys, key)
        opens = source.peek() in ("[", "{")
        if opens and _is_around(key, keys):
            yield from _walk(source, inside, label)
        else:
            yield Piece(inside, source.value(), label)
    source.take(last)


def _walk_value(value: object, keys: tuple[str, ...], label: str) -> Iterator[Piece]:
    """Yields the same of an array or object that was read already."""
    members = (
        value.items() if isinstance(value, dict) else (("", item) for item in value) if isinstance(value, list) else ()
    )
    for key, member in members:
        inside = (*keys, key)
        if isinstance(member, dict | list) and len(inside) < _DEPTH and _is_around(key, keys):
            yield from _walk_value(member, inside, label)
        else:
            yield Piece(inside, member, label)


def _is_around(key: str, keys: tuple[str, ...]) -> bool:
    """Returns True if an array or object under a key holds nodes, and is none."""
    return key in _AROUND or (not key and keys[-1:] in (("plays",), ("tasks",)))


def json_pieces(read: Callable[[int], str], path: str) -> Iterator[Piece]:
    """Yields the pieces of all texts that `read` gives (at most so many letters, nothing at the end), each text's end
    too.

    Raises NodesError where the JSON is broken, which may be behind pieces that were good.
    """
    source = _Source(read, path)
    while source.peek(_BLANK):
        label = source.line_before("[{")
        known, value = source.small()
        yield from _walk_value(value, (), label.strip()) if known else _walk(source, (), label.strip())
        yield Piece((), None, label.strip(), ends=True)
