"""The header of an RPM file: numbered tags with values, after a lead and a header of signatures.

The format is that of rpm's docs/manual/format_header.md: a mark, the count of entries and the size of the store, the
entries (tag, type, offset in the store, count of values), the store. Only the values of tags that are asked for are
decoded, and each entry is checked against the store before anything is read.
"""

from __future__ import annotations

import io
import struct
from enum import IntEnum
from typing import BinaryIO, NamedTuple

__all__ = ["MAGIC", "Header", "HeaderError", "Tag", "read_blob", "read_header"]

MAGIC = b"\xed\xab\xee\xdb"
_LEAD = 96
_HEADER_MAGIC = b"\x8e\xad\xe8\x01"
_ENTRY = struct.Struct(">IIiI")
_MAX_ENTRIES = 4096
_MAX_STORE = 64 << 20
"""A kernel's header holds its whole changelog and tens of thousands of file names: some 10 MB."""
_INT16, _INT32, _INT64, _STRING, _STRINGS, _TRANSLATED = 3, 4, 5, 6, 8, 9
_WIDTHS = {_INT16: "H", _INT32: "I", _INT64: "Q"}


class HeaderError(ValueError):
    """A file that is no RPM, or a broken one."""


class Tag(IntEnum):
    """The tags that are read (rpm's include/rpm/rpmtag.h)."""

    NAME = 1000
    VERSION = 1001
    RELEASE = 1002
    EPOCH = 1003
    ARCH = 1022
    FILEDIGESTS = 1035
    SOURCERPM = 1044
    CHANGELOGTIME = 1080
    CHANGELOGNAME = 1081
    CHANGELOGTEXT = 1082
    DIRINDEXES = 1116
    BASENAMES = 1117
    DIRNAMES = 1118
    FILEDIGESTALGO = 5011


class _Entry(NamedTuple):
    type: int
    offset: int
    values: int


class Header:
    """The main header of an RPM. A tag that is missing has no values."""

    def __init__(self, entries: dict[int, _Entry], store: bytes) -> None:
        self._entries = entries
        self._store = store

    def texts(self, tag: Tag) -> list[str]:
        """Returns the strings of a tag; raises HeaderError if it has other values, or fewer than it claims."""
        entry = self._entries.get(tag)
        if entry is None:
            return []
        if entry.type not in (_STRING, _STRINGS, _TRANSLATED):
            raise HeaderError(f"tag {tag.name} holds no text")
        parts = self._store[entry.offset :].split(b"\0", entry.values)
        if len(parts) <= entry.values:
            raise HeaderError(f"tag {tag.name} claims {entry.values:,} texts")
        return [part.decode("utf-8", "replace") for part in parts[: entry.values]]

    def text(self, tag: Tag) -> str:
        """Returns the only string of a tag, or nothing. Raises HeaderError if there are several, of which rpm would
        take the first.
        """
        found = self.texts(tag)
        if len(found) > 1:
            raise HeaderError(f"tag {tag.name} holds several texts")
        return found[0] if found else ""

    def numbers(self, tag: Tag) -> tuple[int, ...]:
        """Returns the integers of a tag; raises HeaderError if it has other values."""
        entry = self._entries.get(tag)
        if entry is None:
            return ()
        width = _WIDTHS.get(entry.type)
        if width is None:
            raise HeaderError(f"tag {tag.name} holds no numbers")
        form = struct.Struct(f">{entry.values}{width}")
        if entry.offset + form.size > len(self._store):
            raise HeaderError(f"tag {tag.name} claims {entry.values:,} numbers")
        return form.unpack_from(self._store, entry.offset)


def _read_one(file: BinaryIO, which: str) -> Header:
    start = file.read(16)
    if len(start) < 16 or start[:4] != _HEADER_MAGIC:
        raise HeaderError(f"its {which} is not where it should be")
    count, size = struct.unpack_from(">II", start, 8)
    if count > _MAX_ENTRIES or size > _MAX_STORE:
        raise HeaderError(f"its {which} claims {count:,} entries and {size:,} bytes")
    index = file.read(count * _ENTRY.size)
    store = file.read(size)
    if len(index) < count * _ENTRY.size or len(store) < size:
        raise HeaderError(f"its {which} is cut off")
    entries: dict[int, _Entry] = {}
    for tag, kind, offset, values in _ENTRY.iter_unpack(index):
        # The entry of a region (tags 62 to 64) points to the place after itself and has no value.
        if not 0 <= offset <= size or values > size:
            raise HeaderError(f"tag {tag} of its {which} claims {values:,} values at byte {offset:,} of {size:,}")
        if tag in entries:
            raise HeaderError(f"tag {tag} stands twice in its {which}")
        entries[tag] = _Entry(kind, offset, values)
    return Header(entries, store)


def read_blob(data: bytes) -> Header:
    """Returns a header as a database of RPM keeps it, without the mark in front; raises HeaderError."""
    return _read_one(io.BytesIO(_HEADER_MAGIC + bytes(4) + data), "header")


def read_header(file: BinaryIO) -> Header:
    """Returns the main header of an RPM, and leaves `file` at the start of the payload. Raises HeaderError."""
    if file.read(_LEAD)[:4] != MAGIC:
        raise HeaderError("it does not start as an RPM")
    _read_one(file, "header of signatures")
    file.seek(-file.tell() % 8, 1)
    return _read_one(file, "main header")
