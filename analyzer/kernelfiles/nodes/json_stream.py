"""Reads JSON piece by piece, with only one piece in memory: the nodes of a list, one after the other.

The standard library's decoder reads each piece, at 400 MB/s. The arrays and objects that contain the nodes are walked
through and not read as a whole. Several texts may follow each other, each after a few words (``web-1 | SUCCESS =>
{…}``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.nodes.types import NodesError

__all__ = ["Piece", "json_pieces"]

_MOST = 64 << 20
"""The maximum length of one piece, in characters. A Kubernetes node has some 20,000, the facts of a host up to 1
million.
"""
_CHUNK = 1 << 18
_MARGIN = 64
"""If a JSON error is within this many characters of the end of the buffer, more input may fix it."""
_DEPTH = 8
_BLANK = re.compile(r"[ \t\r\n,]*")
_SPACE = re.compile(r"[ \t\r\n]*")
_AROUND = frozenset(("items", "hostvars", "_meta", "plays", "tasks", "hosts", "results", "rows", "data", "nodes"))
"""The keys that have nodes below them."""

_NOT_WHOLE = _AROUND | {""}
"""Keys of a text that is not one node. An empty key is read as a member of an array."""


class Piece(NamedTuple):
    """A value and its position: the keys above it (empty for an array), and the words before its text.

    `ends` marks the end of a text; such a piece has no value, or is the whole text if nothing in it contains nodes.
    """

    keys: tuple[str, ...]
    value: object
    label: str = ""
    ends: bool = False


class _Source:
    """A text with only a part of it in memory."""

    def __init__(self, read: Callable[[int], str], path: str) -> None:
        self._read, self._path = read, path
        self._decoder = json.JSONDecoder()
        self._buffer, self._at, self._before = "", 0, 0
        self._ended = False

    def more(self, size: int = _CHUNK) -> bool:
        """Reads more of the text. Returns False at the end."""
        part = "" if self._ended else self._read(size)
        self._ended = not part
        if part:
            self._before += self._at
            self._buffer, self._at = self._buffer[self._at :] + part, 0
        return bool(part)

    def fail(self, words: str, offset: int = 0) -> NodesError:
        return NodesError(f"{self._path}: at letter {self._before + self._at + offset + 1:,}: {words}")

    def peek(self, skip: re.Pattern[str] = _SPACE) -> str:
        """Returns the next character after white space, empty at the end."""
        while True:
            match = skip.match(self._buffer, self._at)
            self._at = self._at if match is None else match.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self.more():
                return ""

    def take(self, letter: str) -> None:
        """Consumes a character. Raises NodesError if the next one is different."""
        found = self.peek()
        if found != letter:
            raise self.fail(f"expected {letter!r}, and {'nothing follows' if not found else f'{found!r} is there'}")
        self._at += 1

    def line_before(self, marks: str) -> str:
        """Returns the words before the next of the given characters, at most 1,000 characters, and moves past the
        words.
        """
        if self._buffer.startswith(tuple(marks), self._at):
            return ""
        while True:
            found = re.search(rf"[{re.escape(marks)}]", self._buffer[self._at : self._at + 1000])
            if found is not None:
                words = self._buffer[self._at : self._at + found.start()]
                self._at += found.start()
                return words
            if len(self._buffer) - self._at >= 1000 or not self.more():
                raise self.fail("no JSON here")

    def small(self) -> tuple[bool, object]:
        """Returns True and the next value, if it is already in memory completely, with more text after it."""
        try:
            found, end = self._decoder.raw_decode(self._buffer, self._at)
        except (ValueError, RecursionError):
            return False, None
        if end >= len(self._buffer):
            return False, None
        self._at = end
        return True, found

    def value(self) -> object:
        """Reads a complete value. Raises NodesError if it is invalid or larger than any node."""
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
    """Yields the members of an array or object that contains nodes."""
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
    """Does the same as `_walk` for an array or object that is already in memory."""
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
    """Returns True if the array or object under a key contains nodes and is not a node itself."""
    return key in _AROUND or (not key and keys[-1:] in (("plays",), ("tasks",)))


def json_pieces(read: Callable[[int], str], path: str) -> Iterator[Piece]:
    """Yields the pieces of all texts from `read`, and an end mark after each text. `read` returns at most the given
    number of characters, and an empty string at the end.

    Raises NodesError for broken JSON, possibly after valid pieces.
    """
    source = _Source(read, path)
    while source.peek(_BLANK):
        label = source.line_before("[{")
        known, value = source.small()
        if known and isinstance(value, dict) and value.keys().isdisjoint(_NOT_WHOLE):
            yield Piece((), value, label.strip(), ends=True)
            continue
        yield from _walk_value(value, (), label.strip()) if known else _walk(source, (), label.strip())
        yield Piece((), None, label.strip(), ends=True)
