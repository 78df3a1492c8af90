"""Reads the .BTF.ext section: where functions begin, the source line of each instruction, and the values that CO-RE
sets.

The layout is described in Linux Documentation/bpf/btf.rst: a header, then tables of records, grouped by section.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.types import SourceLine
from tailcall_audit.probes.kernel.btf import Btf, BtfError

__all__ = ["BtfExt", "FunctionInfo", "Lines", "read_btf_ext"]

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBI")
_PART = struct.Struct("<II")
_MAX_RECORD = 256
"""Bytes: the kernel accepts records of up to 252 bytes (MAX_FUNCINFO_REC_SIZE)."""


class FunctionInfo(NamedTuple):
    """The offset in bytes at which a function begins in its section, and its type id in BTF."""

    offset: int
    type: int


class BtfExt(NamedTuple):
    """The tables, by section name: functions, lines (offset in bytes, file, text, line), and the offsets of the
    instructions that CO-RE changes.
    """

    functions: dict[str, list[FunctionInfo]]
    lines: dict[str, list[tuple[int, int, int, int]]]
    relocated: dict[str, list[int]]


class Lines:
    """Makes source lines. Each text is read only once."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._texts: dict[int, str] = {}

    def line(self, file: int, text: int, column: int) -> SourceLine:
        """Returns the source line of a record. The arguments are the record's fields: the offsets of two strings in
        BTF, and line and column in one number.
        """
        return SourceLine(self._text(file), column >> 10, self._text(text).strip())

    def _text(self, offset: int) -> str:
        found = self._texts.get(offset)
        if found is None:
            try:
                found = self._btf.name(offset)
            except BtfError:
                found = ""
            self._texts[offset] = found
        return found


def read_btf_ext(data: bytes, btf: Btf) -> BtfExt:
    """Returns the tables of a little-endian .BTF.ext section. Raises ProgramsError if it is broken."""
    if len(data) < _HEADER.size:
        raise ProgramsError("its .BTF.ext is too short for a header")
    magic, version, _, length = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != 1 or not _HEADER.size <= length <= len(data):
        raise ProgramsError("its .BTF.ext has a header that is not known")
    parts = [_PART.unpack_from(data, place) for place in range(_HEADER.size, min(length, 32) - 7, _PART.size)]
    tables: list[bytes] = []
    for start, size in parts:
        if length + start + size > len(data):
            raise ProgramsError("the header of its .BTF.ext names more than there is")
        tables.append(data[length + start : length + start + size])
    tables += [b""] * (3 - len(tables))
    functions: dict[str, list[FunctionInfo]] = {}
    for section, (offset, kind) in _records(tables[0], "<II", btf):
        functions.setdefault(section, []).append(FunctionInfo(offset, kind))
    lines: dict[str, list[tuple[int, int, int, int]]] = {}
    for section, row in _records(tables[1], "<IIII", btf):
        lines.setdefault(section, []).append((row[0], row[1], row[2], row[3]))
    relocated: dict[str, list[int]] = {}
    for section, row in _records(tables[2], "<I", btf):
        relocated.setdefault(section, []).append(row[0])
    return BtfExt(functions, lines, relocated)


def _records(table: bytes, layout: str, btf: Btf) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields the first fields of each record, with the name of the section that the record belongs to."""
    if not table:
        return
    row = struct.Struct(layout)
    if len(table) < 4:
        raise ProgramsError("a table of its .BTF.ext is cut off")
    (width,) = struct.unpack_from("<I", table)
    if not row.size <= width <= _MAX_RECORD or width % 4:
        raise ProgramsError(f"its .BTF.ext has records of {width} bytes")
    whole = struct.Struct(f"{layout}{width - row.size}x")
    place = 4
    while place < len(table):
        if place + 8 > len(table):
            raise ProgramsError("a table of its .BTF.ext is cut off")
        name, count = _PART.unpack_from(table, place)
        place += 8
        if place + count * width > len(table):
            raise ProgramsError("a table of its .BTF.ext is cut off")
        try:
            section = btf.name(name)
        except BtfError as error:
            raise ProgramsError(f"its .BTF.ext names no section: {error}") from error
        for found in whole.iter_unpack(table[place : place + count * width]):
            yield section, found
        place += count * width
