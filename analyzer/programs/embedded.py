"""Finds BPF objects inside other files: Go programs made with bpf2go, C programs with bpftool's skeletons, libraries,
archives of objects.

An object begins with the header of an ELF file for BPF and ends where its last section ends.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import ProgramsError
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
    """An object inside a file: its offset in bytes, and its bytes; none if it is not whole, or has implausibly many
    sections.
    """

    offset: int
    data: bytes


def find_objects(data: bytes) -> Iterator[Embedded]:
    """Yields the BPF objects inside a file, in file order, except the file itself. Raises ProgramsError where the
    search ends before the file does.
    """
    place = data.find(_IDENTITY, 1)
    found = rows = 0
    for _ in range(_MAX_LOOKS):
        if place < 0:
            return
        if found == _MAX_OBJECTS or rows > _MAX_ROWS:
            break
        count = _sections(data, place)
        size = None
        if count is not None:
            rows += count
            size = _size(data, place, count)
            found += 1
            yield Embedded(place, data[place : place + (size or 0)])
        place = data.find(_IDENTITY, place + (size or 1))
    if place >= 0:
        raise ProgramsError(f"it may have more BPF objects than are looked for, from byte {place} on")


def _sections(data: bytes, place: int) -> int | None:
    """Returns the number of sections of the BPF object at an offset, 0 if they cannot be read; None if there is no
    object.
    """
    if place + _ROW > len(data) or data[place + 5] not in (1, 2):
        return None
    kind, machine, _, _, _, table, _, header, _, _, row, count, _ = struct.unpack_from(
        _order(data, place) + _HEADER.format, data, place + 16
    )
    if (kind, machine, header, row) != (_RELOCATABLE, MACHINE, _ROW, _ROW):
        return None
    return count if count <= _MAX_SECTIONS and place + table + count * row <= len(data) else 0


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
