"""The addresses of a kernel's functions, recovered from its own symbol table (kallsyms), which every distribution
builds in.

scripts/kallsyms.c writes, in read-only data: the number of symbols, their names (each a length and that many bytes,
every byte a token), a marker for each 256th name, the 256 tokens, an index of them, and the addresses as offsets from a
base. In older kernels the offsets come first, in newer ones (seen in 6.12) after the tokens, and in 7.0 they count from
their own place. All tables are checked against each other; where they do not fit, there is no table.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

__all__ = ["Kallsyms", "KallsymsError"]

_TOKENS = 256
# In the token table each digit maps to itself, so the bytes `0 NUL 1 NUL … 9 NUL` locate the table.
_DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
_MAX_NAMES_SPAN = 32 << 20
_MAX_SYMBOLS = 1 << 20
_LAST_CHUNK = 256 * 512
_KERNEL = 0xFFFF_0000_0000_0000
"""Code of a kernel has no lower address, on x86-64 and on arm64."""
_MAX_TABLES = 256
"""Places that look like the table of tokens. A kernel has one, and its modules and initramfs may have one each."""
_MAX_NAME = 512
"""Bytes of a symbol's name, and of a token: KSYM_NAME_LEN (include/linux/kallsyms.h)."""
_MAX_STEPS = 4_000_000
"""Names and places that are looked at until the tables fit each other. A kernel takes one walk over its names."""
_TEXT_TYPES = b"tTwW"
_ALL_TYPES = b"tTwWdDrRbBaAvV"


class KallsymsError(ValueError):
    """An image in which no symbol table was found."""


def _tokens(data: bytes) -> tuple[list[bytes], int, int]:
    """Returns the tokens, where their table starts, and where its index starts."""
    place = data.find(_DIGITS)
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
            # Nothing but its alignment separates the first token from what is before the table.
            before = data.rfind(b"\0", max(0, second - 64), second - 1) + 1
            for start in range(before + -before % 4, second - 1, 4):
                index = _index(data, start)
                if index is not None:
                    return index[0], start, index[1]
        place = data.find(_DIGITS, place + 1)
    raise KallsymsError("no table of tokens: CONFIG_KALLSYMS is off, or its form is not known")


def _index(data: bytes, start: int) -> tuple[list[bytes], int] | None:
    """Returns the tokens of a table at a place and where their index starts; None if there is no table there."""
    parts = data[start : start + 16384].split(b"\0", _TOKENS)[:_TOKENS]
    if len(parts) < _TOKENS or any(len(part) > _MAX_NAME for part in parts):
        return None
    if not all(0 < len(part) < 64 for part in parts[ord("0") : ord("9") + 1]):
        return None
    wanted = array("H", [0] * _TOKENS)
    position = 0
    for number, part in enumerate(parts):
        wanted[number] = position & 0xFFFF
        position += len(part) + 1
    # The index has the start of each token, and so proves the table.
    index = data.find(wanted.tobytes(), start + position, start + position + 64 + 2 * _TOKENS)
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


def _markers(data: bytes, end: int) -> Iterator[tuple[int, array[int]]]:
    """Arrays before `end` that could be the markers, the nearest first: rising from zero, in steps of 256 names of 2 to
    512 bytes.
    """
    words = array("I", data[max(0, end - _MAX_NAMES_SPAN) & ~3 : end & ~3])
    base = (end & ~3) - 4 * len(words)
    # Between them and the tokens there may be a table of three bytes a name, for look-ups by name.
    position = len(words) - 1
    while position > 0:
        stop = position
        while position > 0 and 512 <= words[position] - words[position - 1] <= 256 * 512:
            position -= 1
        if words[position] == 0 and stop - position >= 8:
            yield base + 4 * position, words[position : stop + 1]
        position -= 1


def _names(data: bytes, place: int, markers: array[int], steps: _Steps) -> tuple[int, array[int]] | None:
    """Returns where the names start, and where each one's length stands: the count before them, and the markers, must
    agree; None if they do not. Raises KallsymsError if the budget is used up.
    """
    last = place - markers[-1]
    for start in range(last & ~3, max(8, last - _LAST_CHUNK), -4):
        steps.take(1)
        # The count is a word of four bytes, padded to eight in all kernels seen before 7.0.
        before, count = struct.unpack_from("<II", data, start - 8)
        if count == 0:
            count = before
        if (count + 255) // 256 == len(markers) and 0 < count < _MAX_SYMBOLS:
            places = _walk(data, start, count, markers, place, steps)
            if places is not None:
                return start, places
    return None


def _walk(data: bytes, start: int, count: int, markers: array[int], end: int, steps: _Steps) -> array[int] | None:
    """Returns where each name's length stands, when all markers agree; else None."""
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
    return places if len(places) == count and position <= end else None


def _addresses(
    data: bytes,
    names: int,
    index: int,
    count: int,
    address_of: Callable[[int], int | None],
    pointer_at: Callable[[int], int],
) -> Sequence[int]:
    """Returns the addresses of all symbols, in the order of their names, which is rising but for per-CPU variables."""
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


class Kallsyms:
    """The symbol table of a kernel. Raises KallsymsError if there is none.

    `address_of` is where a place of `data` is linked; `pointer_at` is the pointer at a place, as a booted kernel has
    it: arm64 Images of 5.10 and 6.1 have zero in the file.
    """

    def __init__(
        self, data: bytes, address_of: Callable[[int], int | None], pointer_at: Callable[[int], int] | None = None
    ) -> None:
        self._data = data
        self._tokens, table, index = _tokens(data)
        steps = _Steps()
        for place, markers in _markers(data, table):
            names = _names(data, place, markers, steps)
            if names is not None:
                start, self._places = names
                break
        else:
            raise KallsymsError("no names that fit their markers")
        self._addresses = _addresses(data, start, index, len(self._places), address_of, pointer_at or self._pointer)
        self._order: list[int] | None = None

    def _pointer(self, place: int) -> int:
        found: int = struct.unpack_from("<Q", self._data, place)[0]
        return found

    def _text(self, position: int) -> bytes:
        """Returns the type and the name at a position."""
        data = self._data
        length, begin = data[position], position + 1
        if length >= 128:
            length, begin = length & 127 | data[position + 1] << 7, position + 2
        text = bytearray()
        for byte in data[begin : begin + length]:
            text += self._tokens[byte]
            if len(text) > _MAX_NAME:
                break
        return bytes(text)

    def _named(self, names: set[bytes], types: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        """Number, name and variant of every symbol of these names and types. A compiler's variant of a function,
        ``do_jit.isra.0``, goes by the name before the first dot.
        """
        data, tokens = self._data, self._tokens
        begins = _Beginnings(tokens, names, types)
        for number, position in enumerate(self._places):
            length, begin = data[position], position + 1
            if length >= 128:
                length, begin = length & 127 | data[position + 1] << 7, position + 2
            if length < 2:
                continue
            text = begins[data[begin] << 8 | data[begin + 1]]
            if not text:
                continue
            for byte in data[begin + 2 : begin + length]:
                text += tokens[byte]
                if not begins.leads_to_one(text[1:]):
                    break
            name, _, variant = text[1:].partition(b".")
            if name in names:
                yield number, name, variant

    def functions(self, wanted: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Address and size in bytes (up to the next symbol) of each function that is there under this very name.

        A part that a compiler split off, ``.part.0``, goes by ``NAME.part``; ``.cold`` is no function. Of two functions
        of one name neither is found: which one is meant is not known.
        """
        found: dict[str, tuple[int, int]] = {}
        several: set[str] = set()
        for number, name, variant in self._named({name.encode() for name in wanted}, _TEXT_TYPES):
            if variant.startswith(b"cold"):
                continue
            plain = f"{name.decode()}.part" if variant.startswith(b"part") else name.decode()
            address = self._addresses[number]
            if plain in found and found[plain][0] != address:
                several.add(plain)
            following = next((other for other in self._addresses[number : number + 64] if other > address), address)
            found[plain] = (address, following - address)
        return {name: where for name, where in found.items() if name not in several}

    def addresses(self, wanted: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Returns all addresses of each symbol, code or data, that is there under this name; parts that a compiler
        split off are left out.
        """
        found: dict[str, list[int]] = {}
        for number, name, variant in self._named({name.encode() for name in wanted}, _ALL_TYPES):
            if not variant.startswith((b"cold", b"part")):
                found.setdefault(name.decode(), []).append(self._addresses[number])
        return {name: tuple(dict.fromkeys(where)) for name, where in found.items()}

    def name_at(self, address: int) -> str | None:
        """Returns the name of the last symbol at or before an address; None before the first."""
        if self._order is None:
            self._order = sorted(range(len(self._addresses)), key=self._addresses.__getitem__)
        place = bisect_right(self._order, address, key=self._addresses.__getitem__)
        if place == 0:
            return None
        return self._text(self._places[self._order[place - 1]])[1:].decode("ascii", "replace")


class _Beginnings(dict[int, bytes]):
    """Returns the text of two tokens (the first in the high byte) with which a wanted symbol could begin, else nothing;
    found out when first asked. Its first letter is its type.
    """

    def __init__(self, tokens: list[bytes], names: set[bytes], types: bytes) -> None:
        self._tokens = tokens
        self._wanted = names
        self._prefixes = {name[:length] for name in names for length in range(len(name) + 1)}
        self._types = types

    def leads_to_one(self, name: bytes) -> bool:
        """Returns True if a wanted name begins so, or if this is one with a variant that the compiler made: ``do_jit``
        and ``.isra.0``.
        """
        if name in self._prefixes:
            return True
        plain, dot, _ = name.partition(b".")
        return bool(dot) and len(name) <= _MAX_NAME and plain in self._wanted

    def __missing__(self, pair: int) -> bytes:
        text = self._tokens[pair >> 8] + self._tokens[pair & 255]
        found = text if text[:1] in self._types and self.leads_to_one(text[1:]) else b""
        self[pair] = found
        return found
