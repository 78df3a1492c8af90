"""The pointers in an arm64 Image that the kernel itself writes when it boots.

Such a kernel is linked as a position-independent file. Before v6.6 its table of relocations (Elf64_Rela of type
R_AARCH64_RELATIVE, "ELF for the Arm 64-bit Architecture") is the only place that contains a pointer's value; the
pointer itself is zero in the file. Newer kernels have packed relocations (RELR) and the values in place; there the
table found here is short or missing.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Relocations", "find_relocations"]

_RELATIVE = struct.pack("<Q", 0x403)
_SIZE = 24
_FEWEST = 1000
"""Records: a kernel has some 100,000. A smaller number than this is not accepted as a table."""
_ALIGNMENT = 2 << 20
"""Bytes: an Image begins at a multiple of this (Linux Documentation/arch/arm64/booting.rst)."""


class Relocations(NamedTuple):
    """The address that the kernel was linked at, the places (bytes from there, rising) of its pointers, and their
    values.
    """

    base: int
    places: tuple[int, ...]
    values: tuple[int, ...]

    def value_at(self, place: int) -> int | None:
        """Returns the pointer at a place; None if none is written at boot."""
        index = bisect_left(self.places, place)
        return self.values[index] if index < len(self.places) and self.places[index] == place else None

    def between(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Place and value of every pointer that overlaps the places from `start` to before `end`."""
        for index in range(bisect_left(self.places, start - 7), bisect_left(self.places, end)):
            yield self.places[index], self.values[index]


def find_relocations(data: bytes) -> Relocations | None:
    """Returns the table of relocations of a flat Image; None if it has none."""
    place = data.find(_RELATIVE)
    while place >= 0:
        end = place
        while data[end : end + 8] == _RELATIVE:
            end += _SIZE
        if end - place >= _FEWEST * _SIZE:
            return _table(data, place - 8, end - 8)
        place = data.find(_RELATIVE, max(end, place + 1))
    return None


def _table(data: bytes, start: int, end: int) -> Relocations | None:
    rows = sorted((offset, value) for offset, _, value in struct.iter_unpack("<QQQ", data[start:end]))
    base = min(rows[0][0], *(value for _, value in rows)) & -_ALIGNMENT
    if rows[-1][0] - base + 8 > len(data):
        return None
    return Relocations(base, tuple(offset - base for offset, _ in rows), tuple(value for _, value in rows))
