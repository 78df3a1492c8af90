"""What happens to data on its way: cut off, flipped, doubled, mixed with other data, counts that lie."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

__all__ = ["HUGE", "NASTY", "draw_mutated", "mutated"]

Step = Callable[[bytes], bytes]

HUGE = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
"""Counts and sizes at which integers of some width wrap, turn negative, or are more than any file has."""
NASTY = (
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b" " * 70,
    b"\x1b[2J\x1b]0;owned\x07",
    b"\xff\xfe",
    "\u202e\u2028".encode(),
    b"-1",
    b"-60       ",
    b"9" * 40,
    b"../" * 6 + b"etc/passwd",
    b"%s%n",
    b"(" * 300,
    b"\xc0\x80",
    b"'\"`$(id);|&",
)
_LONGEST = 1 << 16


@st.composite
def _step(draw: st.DrawFn, words: Sequence[bytes], other: st.SearchStrategy[bytes] | None) -> Step:
    kind = draw(
        st.sampled_from(("cut", "flip", "set", "double", "insert", "drop", "number", "text", "splice", "swap", "tail"))
    )
    place, length = draw(st.integers(0, _LONGEST)), draw(st.integers(1, 64))
    word = draw(st.sampled_from((*NASTY, *words)))
    if kind == "number":
        value = draw(st.sampled_from(HUGE))
        form = draw(st.sampled_from(("<H", ">H", "<I", ">I", "<Q", ">Q", "B")))
        width = struct.calcsize(form)
        raw = struct.pack(form, value & ((1 << 8 * width) - 1))
        return lambda data: _over(data, place, raw)
    if kind == "flip":
        bit = draw(st.integers(0, 7))
        return lambda data: _over(data, place, bytes([data[place % len(data)] ^ 1 << bit])) if data else data
    if kind == "set":
        value = draw(st.integers(0, 255))
        return lambda data: _over(data, place, bytes([value]))
    if kind == "splice" and other is not None:
        foreign = draw(other)
        at = draw(st.integers(0, max(0, len(foreign) - 1)))
        return lambda data: data[: _at(data, place)] + foreign[at:]
    return {
        "cut": lambda data: data[: _at(data, place)],
        "double": lambda data: _inserted(data, place, data[_at(data, place) :][: length * 8]),
        "insert": lambda data: _inserted(data, place, word),
        "drop": lambda data: data[: _at(data, place)] + data[_at(data, place) + length :],
        "text": lambda data: _over(data, place, word),
        "splice": lambda data: data[_at(data, place) :] + data[: _at(data, place)],
        "swap": lambda data: _lines_swapped(data, place, length),
        "tail": lambda data: data + word * (length % 8),
    }[kind]


def _at(data: bytes, place: int) -> int:
    return place % (len(data) + 1)


def _over(data: bytes, place: int, raw: bytes) -> bytes:
    at = _at(data, place)
    return data[:at] + raw + data[at + len(raw) :]


def _inserted(data: bytes, place: int, more: bytes) -> bytes:
    at = _at(data, place)
    return data[:at] + more + data[at:]


def _lines_swapped(data: bytes, place: int, length: int) -> bytes:
    lines = data.split(b"\n")
    one, two = place % len(lines), (place + length) % len(lines)
    lines[one], lines[two] = lines[two], lines[one]
    return b"\n".join(lines)


def draw_mutated(
    draw: st.DrawFn, data: bytes, words: Sequence[bytes] = (), other: st.SearchStrategy[bytes] | None = None
) -> bytes:
    """Returns data with up to four changes."""
    for step in draw(st.lists(_step(words, other), max_size=4)):
        data = step(data)
    return data


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes], words: Sequence[bytes] = ()) -> bytes:
    """Data of a format with up to four changes; `words` are bytes that mean something in it."""
    return draw_mutated(draw, draw(whole), words, whole)
