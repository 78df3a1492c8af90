"""The ar archive that a Debian package is (deb(5)): a mark, and members with a header of 60 bytes each.

python-debian's reader loops on a negative size, and takes the last of two members with one name, while dpkg takes the
first. Here both are errors.
"""

from __future__ import annotations

import re
from typing import BinaryIO, NamedTuple

__all__ = ["MAGIC", "ArError", "Member", "open_member", "read_members"]

MAGIC = b"!<arch>\n"
_HEADER = 60
_MAX_MEMBERS = 64
_NUMBER = re.compile(rb"\d{1,10}")


class ArError(ValueError):
    """Data that is no such archive, or a broken one."""


class Member(NamedTuple):
    """A member: where its content starts, and how many bytes it has."""

    name: str
    start: int
    size: int


class _View:
    """The content of a member; it can be read once."""

    def __init__(self, file: BinaryIO, member: Member) -> None:
        file.seek(member.start)
        self._file = file
        self._left = member.size

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes."""
        part = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(part)
        return part


def read_members(file: BinaryIO) -> tuple[Member, ...]:
    """Returns the members of an archive in their order; raises ArError, also if two have the same name."""
    file.seek(0, 2)
    end = file.tell()
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise ArError("it does not start as an archive")
    found: dict[str, Member] = {}
    position = len(MAGIC)
    while position < end:
        file.seek(position)
        header = file.read(_HEADER)
        if len(header) < _HEADER or header[58:] != b"`\n":
            raise ArError(f"a header is cut off or broken at byte {position:,}")
        name = header[:16].decode("utf-8", "replace").rstrip().removesuffix("/")
        digits = header[48:58].strip()
        if not _NUMBER.fullmatch(digits):
            raise ArError(f"member {name!r} has a size that is no number")
        size = int(digits)
        start = position + _HEADER
        if start + size > end:
            raise ArError(f"member {name!r} is cut off: it claims {size:,} bytes")
        if name in found:
            raise ArError(f"it has two members named {name!r}")
        if len(found) == _MAX_MEMBERS:
            raise ArError(f"it has more than {_MAX_MEMBERS} members")
        found[name] = Member(name, start, size)
        position = start + size + size % 2
    return tuple(found.values())


def open_member(file: BinaryIO, member: Member) -> _View:
    """Returns a reader of a member's content. Only one can be used at a time: they share the file's position."""
    return _View(file, member)
