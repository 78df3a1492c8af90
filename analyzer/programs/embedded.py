"""Finds BPF objects inside other files: Go programs made with bpf2go, C programs with bpftool's skeletons, libraries,
archives of objects.

An object begins with the header of an ELF file for BPF and ends where its last section ends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.programs.elf_object import MACHINE

__all__ = ["Embedded", "find_objects"]

_IDENTITY = b"\x7fELF\x02"
_HEADER = struct.Struct("HHIQQQIHHHHHH")
_ROW = 64
_RELOCATABLE = 1
_NOBITS = 8
_MAX_SECTIONS = 20_000
_MAX_LOOKS = 100_000
_MAX_OBJECTS = 1_000
_MAX_ROWS = 2_000_000
"""The limit on section headers that are read in one file."""


class Embedded(NamedTuple):
    """An object inside a file: its offset in bytes, and its bytes."""

    offset: int
    data: bytes


def find_objects(data: bytes) -> Iterator[Embedded]:
    """Yields the BPF objects inside a file, in file order, except the file itself. The search is limited."""
    place = data.find(_IDENTITY, 1)
    found = rows = 0
    for _ in range(_MAX_LOOKS):
        if place < 0 or found == _MAX_OBJECTS or rows > _MAX_ROWS:
            return
        count = _sections(data, place)
        rows += count
        size = _size(data, place, count)
        if size is not None:
            found += 1
            yield Embedded(place, data[place : place + size])
        place = data.find(_IDENTITY, place + (size or 1))


def _sections(data: bytes, place: int) -> int:
    """Returns the number of sections of the BPF object at an offset, 0 if there is none."""
    if place + _ROW > len(data) or data[place + 5] not in (1, 2):
        return 0
    kind, machine, _, _, _, table, _, header, _, _, row, count, _ = struct.unpack_from(
        _order(data, place) + _HEADER.format, data, place + 16
    )
    if (kind, machine, header, row) != (_RELOCATABLE, MACHINE, _ROW, _ROW) or count > _MAX_SECTIONS:
        return 0
    return count if place + table + count * row <= len(data) else 0


def _order(data: bytes, place: int) -> str:
    return "<" if data[place + 5] == 1 else ">"


def _size(data: bytes, place: int, count: int) -> int | None:
    """Returns the size in bytes of the object at an offset, None if the object is not complete."""
    if not count:
        return None
    order = _order(data, place)
    (table,) = struct.unpack_from(f"{order}Q", data, place + 40)
    end = table + count * _ROW
    for index in range(count):
        sort, _, _, offset, size = struct.unpack_from(f"{order}IQQQQ", data, place + table + index * _ROW + 4)
        if sort not in (0, _NOBITS):
            end = max(end, offset + size)
    return end if place + end <= len(data) else None
