"""Reads BTF, the kernel's type data, of kernels and of programs.

The format is described in the kernel's Documentation/bpf/btf.rst: a header, the types (12 bytes each, followed by data
that depends on the kind), and a string table.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from tailcall_audit.probes.kernel.btf_format import (
    ARRAY,
    CONST,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FUNC,
    FUNC_PROTO,
    HEADER,
    HEADER_SIZE,
    INT,
    MAGIC,
    NATIVE,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
    VOLATILE,
    BtfError,
)

__all__ = ["Btf", "BtfError", "Member", "Type"]

# The bytes that follow the twelve bytes of a type: a fixed number, and a number for each of its members.
_EXTRA = {INT: (4, 0), ARRAY: (12, 0), STRUCT: (0, 12), UNION: (0, 12), ENUM: (0, 8), FUNC_PROTO: (0, 8), VAR: (4, 0)} | {
    DATASEC: (0, 12), DECL_TAG: (4, 0), ENUM64: (0, 12)
}  # fmt: skip
_TRANSPARENT = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
_MAX_DEPTH = 32
_MAX_NAME = 1024
"""In bytes. The kernel's own limit is 512 (KSYM_NAME_LEN)."""
_MAX_LOOKS = 4096


class Member(NamedTuple):
    """A member of a struct or union. `offset` is in bits from the start of the outermost struct. `size` is the
    width of a bit field in bits, 0 for other members.
    """

    name: str
    type: int
    offset: int
    size: int


class Type(NamedTuple):
    """A type. Depending on its kind, `value` is its size in bytes or the number of the type that it refers to."""

    name: str
    kind: int
    value: int
    members: int
    flag: bool
    position: int


class Btf:
    """Reads BTF in either byte order. The types are indexed once. Raises BtfError if the data is broken or cut off."""

    def __init__(self, data: bytes) -> None:
        if len(data) < HEADER_SIZE:
            raise BtfError("too short for a header")
        self._order = "<" if data[0] == MAGIC & 0xFF else ">"
        magic, version, _, length, types, types_size, strings, strings_size = self._unpack(HEADER, data, 0)
        if magic != MAGIC:
            raise BtfError("not BTF")
        if version != 1:
            raise BtfError(f"version {version} of BTF is not known")
        if (
            length < HEADER_SIZE
            or length + types + types_size > len(data)
            or length + strings + strings_size > len(data)
        ):
            raise BtfError("its header names more than there is")
        self._data = data
        self._strings = data[length + strings : length + strings + strings_size]
        self._start = length + types
        self._end = self._start + types_size
        self._positions = self._scan()
        self._first: dict[tuple[int, int], int] | None = None

    def _unpack(self, form: str, data: bytes, position: int) -> tuple[int, ...]:
        """Returns the numbers at a position in `data`, in the byte order of the BTF."""
        return struct.unpack_from(self._order + form, data, position)

    def _scan(self) -> array[int]:
        """Returns the position of each type, in words from the first one. All types are checked."""
        size = self._end - self._start
        if size % 4:
            raise BtfError("the last type is cut off")
        words = array("I", self._data[self._start : self._end])
        if self._order != NATIVE:
            words.byteswap()
        count = len(words)
        positions = array("I", (0,))
        append = positions.append
        once = [_EXTRA.get(kind, (0, 0))[0] // 4 + 3 for kind in range(32)]
        each = [_EXTRA.get(kind, (0, 0))[1] // 4 for kind in range(32)]
        position = 0
        while position < count:
            if position + 3 > count:
                raise BtfError("the last type is cut off")
            info = words[position + 1]
            kind = info >> 24 & 0x1F
            if not 1 <= kind <= ENUM64:
                raise BtfError(f"type {len(positions)} is of the unknown kind {kind}")
            append(position)
            position += once[kind] + each[kind] * (info & 0xFFFF)
        if position != count:
            raise BtfError("the last type is cut off")
        return positions

    def __len__(self) -> int:
        """The number of the last type plus 1. Number 0 is void."""
        return len(self._positions)

    def name(self, offset: int) -> str:
        """Returns the string at an offset. Raises BtfError outside of the string table."""
        end = self._strings.find(b"\0", offset, offset + _MAX_NAME)
        if offset >= len(self._strings) or end < 0:
            raise BtfError(f"no name of at most {_MAX_NAME} bytes at {offset}")
        return self._strings[offset:end].decode("utf-8", "replace")

    def type(self, number: int) -> Type:
        """Returns the type with a number. Raises BtfError if there is none."""
        if not 0 < number < len(self._positions):
            raise BtfError(f"no type {number}")
        position = self._start + 4 * self._positions[number]
        name, info, value = self._unpack("III", self._data, position)
        return Type(self.name(name), info >> 24 & 0x1F, value, info & 0xFFFF, bool(info >> 31), position + 12)

    def words(self, position: int, count: int) -> tuple[int, ...]:
        """Returns `count` 32-bit numbers at a position that a type refers to. Raises BtfError outside of the data."""
        if position < 0 or position + 4 * count > len(self._data):
            raise BtfError(f"no {count} numbers at {position}")
        return self._unpack(f"{count}I", self._data, position)

    def types(self) -> Iterator[tuple[int, Type]]:
        """Yields every type with its number."""
        for number in range(1, len(self._positions)):
            yield number, self.type(number)

    def find(self, name: str, kind: int) -> int | None:
        """Returns the number of the first type with this name and kind, None if there is none."""
        # An emulated guest searches no type, and each import takes it a hundredth of a second.
        from bisect import bisect_left

        text = name.encode()
        place = 0 if self._strings.startswith(text + b"\0") else self._strings.find(b"\0" + text + b"\0") + 1
        if not text or (place == 0 and not self._strings.startswith(text + b"\0")):
            return None
        # A type contains the offset of its name as one word. The same word may occur elsewhere and counts only at a
        # type's start.
        needle = struct.pack(f"{self._order}I", place)
        found = self._data.find(needle, self._start, self._end)
        for _ in range(_MAX_LOOKS):
            if found < 0:
                return None
            word, odd = divmod(found - self._start, 4)
            number = 0 if odd else bisect_left(self._positions, word, 1)
            if 0 < number < len(self._positions) and self._positions[number] == word and self.type(number).kind == kind:
                return number
            found = self._data.find(needle, found + 1, self._end)
        # If the data contains this word very often, index all types once, for this and all later searches.
        if self._first is None:
            self._first = self._index()
        return self._first.get((place, kind))

    def _index(self) -> dict[tuple[int, int], int]:
        """Returns the number of the first type for each pair of name (its offset in the string table) and kind."""
        found: dict[tuple[int, int], int] = {}
        for number in range(1, len(self._positions)):
            name, info = self._unpack("II", self._data, self._start + 4 * self._positions[number])
            found.setdefault((name, info >> 24 & 0x1F), number)
        return found

    def has_function(self, name: str) -> bool:
        """Returns True if BTF lists a function with this name. Inlined functions are not listed."""
        return self.find(name, FUNC) is not None

    def members(self, number: int) -> list[Member]:
        """Returns the members of a struct or union."""
        found = self.type(number)
        if found.kind not in (STRUCT, UNION):
            raise BtfError(f"type {number} has no members")
        out = []
        for index in range(found.members):
            name, kind, offset = self._unpack("III", self._data, found.position + 12 * index)
            size = offset >> 24 if found.flag else 0
            out.append(Member(self.name(name), kind, offset & 0xFFFFFF if found.flag else offset, size))
        return out

    def member(self, struct_name: str, name: str) -> Member | None:
        """Returns a member of a struct, also from its anonymous structs and unions; None if the struct or the member
        does not exist.
        """
        number = self.find(struct_name, STRUCT)
        return None if number is None else self.member_of(number, name)

    def member_of(self, number: int, name: str) -> Member | None:
        """Does the same as `member` for a struct or union given by its number; None also if the type is of another
        kind.
        """
        if not number or self.type(number).kind not in (STRUCT, UNION):
            return None
        return self._member(number, name, 0, 0, set())

    def _member(self, number: int, name: str, base: int, depth: int, seen: set[int]) -> Member | None:
        # Valid BTF contains an anonymous struct only once in another. One that contained itself twice would take
        # 2^depth steps.
        if depth > _MAX_DEPTH or number in seen:
            return None
        seen.add(number)
        for member in self.members(number):
            if member.name == name:
                return member._replace(offset=base + member.offset)
            if not member.name:
                inner = self.resolve(member.type)
                if inner and self.type(inner).kind in (STRUCT, UNION):
                    found = self._member(inner, name, base + member.offset, depth + 1, seen)
                    if found is not None:
                        return found
        return None

    def resolve(self, number: int) -> int:
        """Returns the type that typedefs and qualifiers stand for; 0 is void."""
        for _ in range(_MAX_DEPTH):
            if number == 0 or self.type(number).kind not in _TRANSPARENT:
                return number
            number = self.type(number).value
        raise BtfError("typedefs without an end")

    def array(self, number: int) -> tuple[int, int, int]:
        """Returns the element type, the index type and the length of an array. Raises BtfError if the type is not an
        array.
        """
        found = self.type(number)
        if found.kind != ARRAY:
            raise BtfError(f"type {number} is no array")
        element, index, count = self._unpack("III", self._data, found.position)
        return element, index, count

    def enumerators(self, name: str) -> dict[str, int]:
        """Returns the names and values of an enum; empty if there is no enum with this name."""
        number = self.find(name, ENUM)
        if number is None:
            return {}
        found = self.type(number)
        return {
            self.name(offset): value
            for offset, value in (
                self._unpack("Ii", self._data, found.position + 8 * index) for index in range(found.members)
            )
        }

    def parameters(self, function: str) -> list[str] | None:
        """Returns the names of a function's parameters; None if there is no such function."""
        number = self.find(function, FUNC)
        if number is None:
            return None
        prototype = self.type(self.type(number).value)
        if prototype.kind != FUNC_PROTO:
            raise BtfError(f"{function} has no prototype")
        return [
            self.name(self._unpack("II", self._data, prototype.position + 8 * index)[0])
            for index in range(prototype.members)
        ]
