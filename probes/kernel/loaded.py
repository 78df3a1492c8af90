"""Reads what the running kernel has loaded, with bpf(2): programs, maps, links and BTF. Changes nothing.

The result is plain data: numbers and bytes as the kernel returns them (include/uapi/linux/bpf.h), in the machine's byte
order. An object that disappears while it is read is left out. Imports only the standard library, because a guest has
nothing else.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections import namedtuple

from tailcall_audit.probes.kernel.netlink import LoadedHook, read_hooks
from tailcall_audit.probes.kernel.syscall import BpfError, raw_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NamedTuple

__all__ = ["Loaded", "LoadedBtf", "LoadedLink", "LoadedMap", "LoadedProgram", "read_kernel", "why_refused"]

_LOOKUP, _INFO_BY_FD = 1, 15
_PROGRAMS, _MAPS, _BTFS, _LINKS = (11, 13), (12, 14), (23, 19), (31, 30)
"""The commands that return the next id, and the descriptor for an id."""
_PROG_ARRAY, _STRUCT_OPS = 3, 26
_MAX_SLOTS = 1 << 20
_MAX_OBJECTS = 100_000
_MAX_BTF = 64 << 20
_INFO_SIZE = 256
_CALL, _LD_IMM64, _TAIL_CALL, _PSEUDO_KFUNC = 0x85, 0x18, 12, 2
_VMLINUX = 1
"""The id of the kernel's own BTF, which is always loaded first."""
_PROG_INFO = struct.Struct("=II8sIIQQQIIQ16sII")
"""struct bpf_prog_info up to ``gpl_compatible``. Later fields are read by their offsets."""
_MAP_INFO = struct.Struct("=IIIIII16s")
_NAME = 16

if TYPE_CHECKING:

    class LoadedProgram(NamedTuple):
        """A program. `instructions` are those that the kernel shows (xlated), None if it shows none.

        `functions` has the instruction slot where each function begins and its number in BTF. `lines` has the slot, the
        offsets of file and text in BTF's strings, and line and column in one number. An id of 0 means "none".
        """

        id: int
        type: int
        name: str
        jited: bool
        gpl: bool
        instructions: bytes | None
        maps: tuple[int, ...]
        btf: int
        functions: tuple[tuple[int, int], ...]
        lines: tuple[tuple[int, int, int, int], ...]
        target_btf: int
        target_type: int

    class LoadedMap(NamedTuple):
        """A map. For a prog array, `slots` are pairs of key and program id, None if they cannot be read."""

        id: int
        type: int
        name: str
        entries: int
        slots: tuple[tuple[int, int], ...] | None

    class LoadedLink(NamedTuple):
        """A link. `attach_type` and the target's ids are None for kinds without them. `where` is the index of a network
        interface.
        """

        id: int
        type: int
        program: int
        attach_type: int | None
        target: int | None
        target_type: int | None
        where: int | None

    class LoadedBtf(NamedTuple):
        """A BTF object. `data` is None for the kernel's own BTF, unless a program refers to one of its types."""

        id: int
        name: str
        is_kernel: bool
        data: bytes | None

    class Loaded(NamedTuple):
        """Everything that is loaded. `symbols` are the names of the kernel functions that programs call, by the value
        of `imm` (the distance from __bpf_call_base); None if the kernel hides addresses. `notes` say what could not be
        read. `hooks` are what netlink attached, without links.
        """

        programs: tuple[LoadedProgram, ...]
        maps: tuple[LoadedMap, ...]
        links: tuple[LoadedLink, ...]
        btfs: tuple[LoadedBtf, ...]
        symbols: dict[int, str] | None
        big_endian: bool
        notes: tuple[str, ...]
        hooks: tuple[LoadedHook, ...] = ()
else:
    # With typing.NamedTuple, each start in an emulated guest would load typing, which takes a tenth of a second.
    LoadedProgram = namedtuple(
        "LoadedProgram", "id type name jited gpl instructions maps btf functions lines target_btf target_type"
    )
    LoadedMap = namedtuple("LoadedMap", "id type name entries slots")
    LoadedLink = namedtuple("LoadedLink", "id type program attach_type target target_type where")
    LoadedBtf = namedtuple("LoadedBtf", "id name is_kernel data")
    Loaded = namedtuple("Loaded", "programs maps links btfs symbols big_endian notes hooks", defaults=((),))


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


_TRACING, _EXT = 26, 28
_WITH_TARGET = (2, 15)
"""Kinds of links of tracing programs. They have an attach type, and the ids of the target and of the type in
its BTF.
"""
_ATTACH_TYPE_AT = {3: 24, 5: 20, 11: 20, 13: 20, 14: 20}
"""The offset of the attach type in struct bpf_link_info, for links to cgroups, network namespaces, tcx, netkit and
sockmaps.
"""
_INTERFACE = (6, 11, 13)


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


def _distances(programs: list[LoadedProgram]) -> tuple[set[int], bool]:
    """Returns the `imm` of every call of a kernel function. Also returns True if one of these is a kfunc, for which
    `imm` is a BTF type number on some architectures.
    """
    found: set[int] = set()
    kfuncs = False
    for program in programs:
        rows = struct.iter_unpack("=BBhi", program.instructions or b"")
        for code, registers, _, imm in rows:
            if code == _LD_IMM64:
                next(rows, None)
            source = registers >> 4 if sys.byteorder == "little" else registers & 15
            if code == _CALL and source != 1 and imm not in (0, _TAIL_CALL):
                found.add(imm)
                kfuncs = kfuncs or source == _PSEUDO_KFUNC
    return found, kfuncs


def _symbols(distances: set[int]) -> dict[int, str] | None:
    """Returns the names of functions by their distance from __bpf_call_base, None if the kernel hides addresses."""
    try:
        with open("/proc/kallsyms", "rb") as file:
            text = b"\n" + file.read()
    except OSError:
        return None
    place = text.find(b" __bpf_call_base\n")
    if place < 0:
        return None
    base = int(text[text.rfind(b"\n", 0, place) + 1 : place].split()[0], 16)
    if not base:
        return None
    found = {}
    for distance in distances:
        at = text.find(b"\n%016x " % ((base + distance) & 0xFFFFFFFFFFFFFFFF))
        if at >= 0:
            words = text[at + 1 : text.find(b"\n", at + 1)].split()
            found[distance] = words[2].decode("utf-8", "replace")
    return found


def read_kernel() -> Loaded:
    """Returns what is loaded. Raises BpfError if the kernel refuses to list programs."""
    notes: list[str] = []
    listed = _each(_PROGRAMS, "program", _program, notes, _unread)
    programs = [item for item in listed if isinstance(item, LoadedProgram)]
    hidden = sum(1 for item in programs if item.type and item.instructions is None)
    maps = [item for item in _each(_MAPS, "map", _map, notes) if isinstance(item, LoadedMap)]
    links: list[LoadedLink] = []
    try:
        links = [item for item in _each(_LINKS, "link", _link, notes) if isinstance(item, LoadedLink)]
    except BpfError as error:  # links have no ids before 5.8
        notes.append(f"links cannot be read ({error.words}): what programs are attached to is not known")
    distances, kfuncs = _distances(programs)
    wanted = frozenset((*(item.target_btf for item in programs), *((_VMLINUX,) if kfuncs else ())))
    read = _each(_BTFS, "BTF", lambda descriptor: _btf(descriptor, wanted), notes)
    btfs = [item for item in read if isinstance(item, LoadedBtf)]
    symbols = _symbols(distances) if distances else {}
    if hidden:
        notes.append(f"the kernel shows no instructions of {hidden} programs (CAP_BPF and CAP_PERFMON are needed)")
    if symbols is None:
        notes.append("/proc/kallsyms shows no addresses (CAP_SYSLOG, kernel.kptr_restrict): helpers are not known")
    hooks = read_hooks(notes)
    byte_order = sys.byteorder == "big"
    return Loaded(tuple(programs), tuple(maps), tuple(links), tuple(btfs), symbols, byte_order, tuple(notes), hooks)


_CAP_SYS_ADMIN = 21


def why_refused(error: BpfError) -> str:
    """Returns what is missing if the kernel refuses to list what is loaded."""
    if error.errno == errno.ENOSYS:
        return "this kernel has no bpf(2), or seccomp hides it"
    if error.errno not in (errno.EPERM, errno.EACCES):
        return error.words
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        effective = 0
    if not effective >> _CAP_SYS_ADMIN & 1:
        return "CAP_SYS_ADMIN is missing: run it as root (CAP_BPF and CAP_PERFMON alone name no ids)"
    return "CAP_SYS_ADMIN does not count here: a user namespace, seccomp or a security module refuses"
