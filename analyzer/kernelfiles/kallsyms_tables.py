"""The tables of a kernel's symbol table (kallsyms), found in the data of an image.

scripts/kallsyms.c writes, in read-only data: the number of symbols, their names (each a length and that many bytes,
every byte a token), a marker for each 256th name, the 256 tokens, an index of them, and the addresses as offsets from a
base. In older kernels the offsets come first, in newer ones (seen in 6.12) after the tokens, and in 7.0 they count from
their own place. All tables are checked against each other. If they do not match, no table is found.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["DIGITS", "MAX_NAME", "KallsymsError", "Names", "Tables", "find_names", "find_tables", "find_tokens"]


_TOKENS = 256
DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
"""In the token table each digit maps to itself, so these bytes locate the table."""
MAX_NAME = 512
"""Bytes of a symbol's name, and of a token: KSYM_NAME_LEN (include/linux/kallsyms.h)."""
_MAX_NAMES_SPAN = 32 << 20
_MAX_SYMBOLS = 1 << 20
_LAST_CHUNK = 256 * 512
_ALIGNMENT = 8
"""Only alignment separates the names from their markers (scripts/kallsyms.c: ALGN)."""
_KERNEL = 0xFFFF_0000_0000_0000
"""Code of a kernel has no lower address, on x86-64 and on arm64."""
_MAX_TABLES = 256
"""Places that look like the table of tokens. A kernel has one, and its modules and initramfs may have one each."""
_MAX_STEPS = 4_000_000
"""The most names and places that are examined until matching tables are found. A kernel takes one walk over its names.
"""


class KallsymsError(ValueError):
    """An image in which no symbol table was found."""


def _swapped(numbers: array[int], big: bool) -> array[int]:
    """Returns numbers of a file in the other byte order than this machine's, in this machine's; `big` is the file's."""
    if big != (sys.byteorder == "big"):
        numbers.byteswap()
    return numbers


def find_tokens(data: bytes, big: bool = False) -> tuple[list[bytes], int, int]:
    """Returns the tokens, where their table starts, and where its index starts. `big` is True for a big-endian kernel."""
    place = data.find(DIGITS)
    for _ in range(_MAX_TABLES):
        if place < 0:
            break
        # The digit 0 is token 48: walk back over the 47 before it, to the end of the first.
        second = place
        for _ in range(ord("0") - 1):
            second = data.rfind(b"\0", max(0, second - 64), second - 1) + 1 if second > 1 else 0
            if second <= 0:
                break
        else:
            # Only alignment separates the first token from the data before the table.
            before = data.rfind(b"\0", max(0, second - 64), second - 1) + 1
            for start in range(before + -before % 4, second - 1, 4):
                index = _index(data, start, big)
                if index is not None:
                    return index[0], start, index[1]
        place = data.find(DIGITS, place + 1)
    raise KallsymsError("no table of tokens: CONFIG_KALLSYMS is off, or its form is not known")


def _index(data: bytes, start: int, big: bool) -> tuple[list[bytes], int] | None:
    """Returns the tokens of a table at a place and where their index starts; None if there is no table there."""
    parts = data[start : start + 16384].split(b"\0", _TOKENS)[:_TOKENS]
    if len(parts) < _TOKENS or any(len(part) > MAX_NAME for part in parts):
        return None
    if not all(0 < len(part) < 64 for part in parts[ord("0") : ord("9") + 1]):
        return None
    wanted = array("H", [0] * _TOKENS)
    position = 0
    for number, part in enumerate(parts):
        wanted[number] = position & 0xFFFF
        position += len(part) + 1
    # The index contains the start of each token, which proves the table.
    index = data.find(_swapped(wanted, big).tobytes(), start + position, start + position + 64 + 2 * _TOKENS)
    return None if index < 0 else (parts, index)


class _Steps:
    """A budget of steps: the cost of trying an array of markers depends on the data."""

    def __init__(self) -> None:
        self._left = _MAX_STEPS

    def take(self, count: int) -> None:
        """Takes steps; raises KallsymsError if none are left."""
        self._left -= count
        if self._left < 0:
            raise KallsymsError(f"no tables that fit each other within {_MAX_STEPS:,} steps")


def _markers(data: bytes, end: int, big: bool) -> Iterator[tuple[int, array[int]]]:
    """Yields arrays before `end` that could be the markers, the nearest first: rising from zero, in steps of 256 names
    of 2 to 512 bytes.
    """
    words = _swapped(array("I", data[max(0, end - _MAX_NAMES_SPAN) & ~3 : end & ~3]), big)
    base = (end & ~3) - 4 * len(words)
    # Between the markers and the tokens there may be a table with three bytes for each name, for look-ups by name.
    position = len(words) - 1
    while position > 0:
        stop = position
        while position > 0 and 512 <= words[position] - words[position - 1] <= 256 * 512:
            position -= 1
        if words[position] == 0 and stop - position >= 8:
            yield base + 4 * position, words[position : stop + 1]
        position -= 1


def _names(data: bytes, place: int, markers: array[int], steps: _Steps, big: bool) -> tuple[int, array[int]] | None:
    """Returns the start of the names and the place of each name's length. The count before them and the markers must
    agree; returns None if they do not. Raises KallsymsError if the budget is used up.
    """
    last = place - markers[-1]
    for start in range(last & ~3, max(8, last - _LAST_CHUNK), -4):
        steps.take(1)
        # The count is a word of four bytes, padded to eight in all kernels seen before 7.0.
        before, count = struct.unpack_from(">II" if big else "<II", data, start - 8)
        if count == 0:
            count = before
        if (count + 255) // 256 == len(markers) and 0 < count < _MAX_SYMBOLS:
            places = _walk(data, start, count, markers, place, steps)
            if places is not None:
                return start, places
    return None


def _walk(data: bytes, start: int, count: int, markers: array[int], end: int, steps: _Steps) -> array[int] | None:
    """Returns the place of each name's length if all markers agree and the last name ends at `end`, otherwise None."""
    position = start
    places = array("I")
    append = places.append
    for marker in markers:
        if position - start != marker or position > end:
            return None
        steps.take(256)
        for _ in range(min(256, count - len(places))):
            append(position)
            length = data[position]
            # A length of 128 and more takes two bytes; before 6.1 there was none.
            position += length + 1 if length < 128 else (length & 127 | data[position + 1] << 7) + 2
    return places if len(places) == count and 0 <= end - position < _ALIGNMENT else None


def _addresses(
    data: bytes,
    names: int,
    index: int,
    count: int,
    address_of: Callable[[int], int | None],
    pointer_at: Callable[[int], int],
) -> Sequence[int]:
    """Returns the addresses of all symbols, in the order of their names. The addresses rise, except for those of
    per-CPU variables.
    """
    size = 4 * count
    padded = (size + 7) & ~7
    behind = index + 2 * _TOKENS
    for offsets, base in ((names - 16 - padded, names - 16), ((behind + 7) & ~7, ((behind + 7) & ~7) + padded)):
        # Offsets, base, count, names (seen in 5.10 and 6.1); or offsets and base behind the index (seen in 6.12 and 6.19).
        if offsets < 0 or base + 8 > len(data):
            continue
        start = pointer_at(base)
        if start < _KERNEL or start & 0xFFF:
            continue
        table = array("i", data[offsets : offsets + size])
        # With CONFIG_KALLSYMS_ABSOLUTE_PERCPU an address is a negative offset, and what is not negative a per-CPU variable's own place.
        absolute = sum(offset < 0 for offset in table[:: max(1, count // 1000)]) > 500
        found = (
            [start - 1 - offset if offset < 0 else offset for offset in table]
            if absolute
            else [start + (offset & 0xFFFFFFFF) for offset in table]
        )
        if _is_rising(found):
            return found
    # No base: an offset counts from its own place (seen from 7.0 on).
    offsets = (behind + 3) & ~3
    place = address_of(offsets)
    if place is not None and offsets + size <= len(data):
        found = [
            place + 4 * number + offset for number, offset in enumerate(array("i", data[offsets : offsets + size]))
        ]
        if _is_rising(found):
            return found
    raise KallsymsError("no addresses that fit the names")


def _is_rising(addresses: Sequence[int]) -> bool:
    """Returns True if most addresses rise, seen at every 64th: per-CPU variables stand apart."""
    seen = addresses[::64]
    return sum(a <= b for a, b in pairwise(seen)) > 0.98 * (len(seen) - 1)


class Names(NamedTuple):
    """The tokens, the place of each name's length, where the names start, and where the index of the tokens starts."""

    tokens: list[bytes]
    places: array[int]
    start: int
    tokens_index: int


class Tables(NamedTuple):
    """The tokens, the place of each name's length, and the address of each symbol in the order of the names."""

    tokens: list[bytes]
    places: array[int]
    addresses: Sequence[int]


def find_names(data: bytes, big: bool = False) -> Names:
    """Returns the names of all symbols of a kernel. Raises KallsymsError if there are none.

    The count in front of the names, the marker of each 256th name and the lengths of all agree, so none is missing.
    `big` is True for a big-endian kernel.
    """
    tokens, table, index = find_tokens(data, big)
    steps = _Steps()
    for place, markers in _markers(data, table, big):
        names = _names(data, place, markers, steps, big)
        if names is not None:
            return Names(tokens, names[1], names[0], index)
    raise KallsymsError("no names that fit their markers")


def find_tables(
    data: bytes, address_of: Callable[[int], int | None], pointer_at: Callable[[int], int] | None = None
) -> Tables:
    """Returns the tables of the symbols of a little-endian kernel. Raises KallsymsError if there are none.

    `address_of` returns the link address of a place in `data`. `pointer_at` returns the pointer at a place as in a
    booted kernel: arm64 Images of 5.10 and 6.1 have zero in the file.
    """

    def pointer(place: int) -> int:
        found: int = struct.unpack_from("<Q", data, place)[0]
        return found

    names = find_names(data)
    addresses = _addresses(data, names.start, names.tokens_index, len(names.places), address_of, pointer_at or pointer)
    return Tables(names.tokens, names.places, addresses)
