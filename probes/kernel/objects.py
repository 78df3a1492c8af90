"""Reads programs, maps, links and BTF that are loaded, one kind after the other, by their ids with bpf(2). Changes
nothing.

An object that disappears while it is read is left out. The layouts are those of include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

from tailcall_audit.probes.kernel.records import LoadedBtf, LoadedLink, LoadedMap, LoadedProgram
from tailcall_audit.probes.kernel.syscall import BpfError, raw_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["read_btfs", "read_links", "read_maps", "read_programs"]

_LOOKUP, _INFO_BY_FD = 1, 15
_PROGRAMS, _MAPS, _BTFS, _LINKS = (11, 13), (12, 14), (23, 19), (31, 30)
"""The commands that return the next id, and the descriptor for an id."""
_PROG_ARRAY = 3
_MAX_SLOTS = 1 << 20
_MAX_OBJECTS = 100_000
_MAX_BTF = 64 << 20
_INFO_SIZE = 256
_PROG_INFO = struct.Struct("=II8sIIQQQIIQ16sII")
"""struct bpf_prog_info up to ``gpl_compatible``. Later fields are read by their offsets."""
_MAP_INFO = struct.Struct("=IIIIII16s")
_WITH_TARGET = (2, 15)
"""Kinds of links of tracing programs. They have an attach type, and the ids of the target and of the type in
its BTF.
"""
_ATTACH_TYPE_AT = {3: 24, 5: 20, 11: 20, 13: 20, 14: 20}
"""The offset of the attach type in struct bpf_link_info, for links to cgroups, network namespaces, tcx, netkit and
sockmaps.
"""
_INTERFACE = (6, 11, 13)
"""Kinds of links to a network interface, whose index they show."""


def _ids(command: int, what: str) -> Iterator[int]:
    """Yields the ids of one kind of object. Raises BpfError if the kernel refuses to list them, or lists too many."""
    number = 0
    for _ in range(_MAX_OBJECTS):
        try:
            _, answer = raw_call(command, struct.pack("=III", number, 0, 0), f"ids of {what}")
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        (number,) = struct.unpack_from("=I", answer, 4)
        yield number
    raise BpfError(errno.E2BIG, f"ids of {what}")


def _each(
    commands: tuple[int, int],
    what: str,
    read: Callable[[int], object],
    notes: list[str],
    unread: Callable[[int], object] | None = None,
) -> Iterator[object]:
    """Yields the result of `read` for the descriptor of each object. Leaves out objects that have disappeared. For one
    that cannot be read, adds a note and yields the result of `unread` for its id.
    """
    for number in _ids(commands[0], what):
        try:
            descriptor, _ = raw_call(commands[1], struct.pack("=III", number, 0, 0), f"{what} {number}")
        except BpfError as error:
            if error.errno == errno.ENOENT:
                continue
            notes.append(f"{what} {number} cannot be opened ({error.words})")
            found = None
        else:
            try:
                found = read(descriptor)
            except BpfError as error:
                notes.append(f"{what} {number} cannot be read ({error.words})")
                found = None
            finally:
                os.close(descriptor)
        if found is not None:
            yield found
        elif unread is not None:
            yield unread(number)


def _unread(number: int) -> LoadedProgram:
    """Returns a program of which only its id is known."""
    return LoadedProgram(number, 0, "", False, False, None, (), 0, (), (), 0, 0)


def _info(descriptor: int, info: bytes, what: str) -> bytes:
    """Returns the kernel's information about an object. `info` holds the addresses and sizes of the buffers to fill."""
    buffer = ctypes.create_string_buffer(info, len(info))
    raw_call(_INFO_BY_FD, struct.pack("=IIQ", descriptor, len(info), ctypes.addressof(buffer)), f"info of {what}")
    return buffer.raw


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


def _number(info: bytes, offset: int) -> int:
    found: int = struct.unpack_from("=I", info, offset)[0]
    return found


def _program(descriptor: int) -> LoadedProgram:
    """Reads a program in two steps: first the sizes, then the data into buffers of these sizes."""
    first = _info(descriptor, bytes(_INFO_SIZE), "program")
    size, maps = _number(first, 20), _number(first, 52)
    function_size, functions, lines, line_size = (_number(first, offset) for offset in (132, 144, 148, 172))
    rooms = [ctypes.create_string_buffer(max(1, room)) for room in (
        size, 4 * maps, functions * function_size, lines * line_size
    )]  # fmt: skip
    wanted = bytearray(_INFO_SIZE)
    for room, length, place, count in zip(
        rooms, (size, maps, functions, lines), (32, 56, 136, 152), (20, 52, 144, 148), strict=True
    ):
        if length:
            struct.pack_into("=Q", wanted, place, ctypes.addressof(room))
            struct.pack_into("=I", wanted, count, length)
    struct.pack_into("=I", wanted, 132, function_size if functions else 0)
    struct.pack_into("=I", wanted, 172, line_size if lines else 0)
    info = _info(descriptor, bytes(wanted), "program")
    kind, number, _, jited, _, _, shown, _, _, _, _, name, _, gpl = _PROG_INFO.unpack_from(info)
    return LoadedProgram(
        number,
        kind,
        _text(name),
        bool(jited),
        bool(gpl & 1) if sys.byteorder == "little" else bool(gpl >> 31),
        rooms[0].raw[:size] if shown and size else None,
        struct.unpack_from(f"={maps}I", rooms[1].raw) if maps else (),
        _number(info, 128),
        tuple((row[0], row[1]) for row in _rows(rooms[2].raw, functions, function_size, "=II")),
        tuple((row[0], row[1], row[2], row[3]) for row in _rows(rooms[3].raw, lines, line_size, "=IIII")),
        _number(info, 220),
        _number(info, 224),
    )


def _rows(data: bytes, count: int, width: int, layout: str) -> Iterator[tuple[int, ...]]:
    row = struct.Struct(layout)
    if width >= row.size:
        for index in range(count):
            yield row.unpack_from(data, index * width)


def _map(descriptor: int) -> LoadedMap:
    kind, number, _, _, entries, _, name = _MAP_INFO.unpack_from(_info(descriptor, bytes(_INFO_SIZE), "map"))
    slots: tuple[tuple[int, int], ...] | None = ()
    if kind == _PROG_ARRAY:
        try:
            slots = tuple(_slots(descriptor, min(entries, _MAX_SLOTS)))
        except BpfError:
            slots = None
        if entries > _MAX_SLOTS:
            slots = None
    return LoadedMap(number, kind, _text(name), entries, slots)


def _slots(descriptor: int, entries: int) -> Iterator[tuple[int, int]]:
    """Yields the key and the program id of every filled slot."""
    key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(8)
    attributes = struct.pack("=IIQQQ", descriptor, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
    for index in range(entries):
        struct.pack_into("=I", key, 0, index)
        try:
            raw_call(_LOOKUP, attributes, "lookup in a prog array")
        except BpfError as error:
            if error.errno == errno.ENOENT:
                continue
            raise
        yield index, _number(value.raw, 0)


def _link(descriptor: int) -> LoadedLink:
    info = _info(descriptor, bytes(_INFO_SIZE), "link")
    kind, number, program = struct.unpack_from("=III", info)
    attach = target = target_type = where = None
    if kind in _WITH_TARGET:
        attach, target, target_type = struct.unpack_from("=III", info, 16)
    elif kind in _ATTACH_TYPE_AT:
        attach = _number(info, _ATTACH_TYPE_AT[kind])
    if kind in _INTERFACE:
        where = _number(info, 16)
    return LoadedLink(number, kind, program, attach, target, target_type, where)


def _btf(descriptor: int, wanted: frozenset[int]) -> LoadedBtf:
    name = ctypes.create_string_buffer(64)
    size_and_id = _info(descriptor, struct.pack("=QIIQII", 0, 0, 0, ctypes.addressof(name), len(name), 0), "BTF")
    _, size, number, _, _, is_kernel = struct.unpack_from("=QIIQII", size_and_id)
    data = None
    if (not is_kernel or number in wanted) and size <= _MAX_BTF:
        room = ctypes.create_string_buffer(max(1, size))
        _info(descriptor, struct.pack("=QIIQII", ctypes.addressof(room), size, 0, 0, 0, 0), "BTF")
        data = room.raw[:size]
    return LoadedBtf(number, _text(name.raw), bool(is_kernel), data)


def read_programs(notes: list[str]) -> list[LoadedProgram]:
    """Returns the programs: of one that cannot be read only its id. Adds what cannot be read to the notes, as the other
    functions here do.

    Raises BpfError if the kernel refuses to list them.
    """
    return [item for item in _each(_PROGRAMS, "program", _program, notes, _unread) if isinstance(item, LoadedProgram)]


def read_maps(notes: list[str]) -> list[LoadedMap]:
    """Returns the maps, with the slots of prog arrays. Raises BpfError if the kernel refuses to list them."""
    return [item for item in _each(_MAPS, "map", _map, notes) if isinstance(item, LoadedMap)]


def _unread_link(number: int) -> LoadedLink:
    """Returns a link of which only its id is known."""
    return LoadedLink(number, 0, 0, None, None, None, None)


def read_links(notes: list[str]) -> list[LoadedLink]:
    """Returns the links: of one that cannot be read only its id. Raises BpfError if the kernel refuses to list them, or
    has no ids of links.
    """
    return [item for item in _each(_LINKS, "link", _link, notes, _unread_link) if isinstance(item, LoadedLink)]


def read_btfs(notes: list[str], wanted: frozenset[int]) -> list[LoadedBtf]:
    """Returns the BTF objects. The data of the kernel's own is read only for the ids in `wanted`.

    Raises BpfError if the kernel refuses to list them.
    """
    read = _each(_BTFS, "BTF", lambda descriptor: _btf(descriptor, wanted), notes)
    return [item for item in read if isinstance(item, LoadedBtf)]
