"""Kernel objects in a machine's memory, laid out by the kernel's BTF."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

from tailcall_audit.analyzer.emulator.machine import Machine
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.probes.kernel import btf_format as kinds
from tailcall_audit.probes.kernel.btf import Btf, BtfError

__all__ = ["Field", "Layout", "Objects"]

_POINTER = 8
Filler = Callable[[str, int], bytes]
"""Makes the initial bytes of a new object, from the name of its structure and its size."""


class Field(NamedTuple):
    """The position of a member: offset in bits from the start of the structure, size in bits, and its type with
    typedefs and qualifiers resolved.
    """

    offset: int
    size: int
    type: int


class Layout:
    """Positions of members, by structure and a path of names (``owner.type``, through structures, not through
    pointers).
    """

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.field = cache(self._field)
        self.size = cache(self._size)
        self.struct = cache(self._struct)
        self.has = cache(self._has)
        self.parameters = cache(btf.parameters)

    def _struct(self, name: str) -> int:
        number = self.btf.find(name, kinds.STRUCT) or self.btf.find(name, kinds.UNION)
        if number is None:
            raise EmulationError(Why.NO_MEMBER, f"struct {name}")
        return number

    def _has(self, struct: str) -> bool:
        """Returns True if the kernel has a structure of this name."""
        try:
            return bool(self.struct(struct))
        except EmulationError:
            return False

    def _size(self, struct: str) -> int:
        """Returns a structure's size in bytes; raises EmulationError if there is none of this name."""
        return self.btf.type(self.struct(struct)).value

    def _bytes(self, number: int) -> int:
        found = self.btf.resolve(number)
        if not found:
            return 0
        kind = self.btf.type(found)
        if kind.kind in (kinds.PTR, kinds.FUNC_PROTO):
            return _POINTER
        if kind.kind == kinds.ARRAY:
            element, _, count = self.btf.array(found)
            return self._bytes(element) * count
        return kind.value

    def _field(self, struct: str, path: str) -> Field | None:
        """Returns a member; None if there is none."""
        number, offset = self.struct(struct), 0
        size = 0
        for name in path.split("."):
            try:
                member = self.btf.member_of(number, name)
            except BtfError as error:
                raise EmulationError(Why.NO_BTF, str(error)) from error
            if member is None:
                return None
            offset += member.offset
            number = self.btf.resolve(member.type)
            size = member.size or 8 * self._bytes(number)
        return Field(offset, size, number)

    def need(self, struct: str, path: str) -> Field:
        """Returns a member; raises EmulationError if there is none."""
        found = self.field(struct, path)
        if found is None:
            raise EmulationError(Why.NO_MEMBER, f"{struct}.{path}")
        return found

    def place(self, struct: str, path: str) -> int:
        """Returns a member's offset in bytes; raises EmulationError if there is no such member."""
        return self.need(struct, path).offset // 8


class Objects:
    """Makes objects in a machine. `fill` makes the bytes of a new object before its members are set; without it they
    are zero.
    """

    def __init__(self, machine: Machine, layout: Layout, fill: Filler | None = None) -> None:
        self.machine = machine
        self.layout = layout
        self._fill = fill

    def new(self, struct: str, members: Mapping[str, int] | None = None, room: int = 0) -> int:
        """Makes an object with `room` bytes after it and returns its address. Members that the kernel does not have are
        left out.
        """
        size = self.layout.size(struct)
        address = self.machine.allocate(size + room)
        data = bytearray(size + room)
        if self._fill is not None:
            data[:size] = self._fill(struct, size)
        beyond: dict[str, int] = {}
        for path, value in (members or {}).items():
            field = self.layout.field(struct, path)
            if field is not None and field.offset + field.size <= 8 * len(data):
                _put(data, field, value)
            elif field is not None:
                beyond[path] = value
        self.machine.write(address, bytes(data))
        # Broken type data may place members outside the object.
        for path, value in beyond.items():
            self.set(address, struct, path, value)
        return address

    def set(self, address: int, struct: str, path: str, value: int) -> bool:
        """Sets a member. Returns False if the kernel has none of this name."""
        field = self.layout.field(struct, path)
        if field is None:
            return False
        first, last = field.offset // 8, (field.offset + field.size + 7) // 8
        data = bytearray(self.machine.read(address + first, last - first))
        _put(data, field._replace(offset=field.offset % 8), value)
        self.machine.write(address + first, bytes(data))
        return True

    def get(self, address: int, struct: str, path: str) -> int:
        """Returns a member's value, unsigned; raises EmulationError if there is no such member."""
        field = self.layout.need(struct, path)
        first, last = field.offset // 8, (field.offset + field.size + 7) // 8
        raw = int.from_bytes(self.machine.read(address + first, last - first), "little")
        return raw >> field.offset % 8 & (1 << field.size) - 1


def _put(data: bytearray, field: Field, value: int) -> None:
    first, last = field.offset // 8, (field.offset + field.size + 7) // 8
    shift = field.offset % 8
    mask = ((1 << field.size) - 1) << shift
    old = int.from_bytes(data[first:last], "little")
    data[first:last] = (old & ~mask | (value << shift) & mask).to_bytes(last - first, "little")
