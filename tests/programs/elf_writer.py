"""Writes BPF object files by hand: sections, symbols, relocations, .maps, BTF and source lines. No compiler is needed."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.btf_format import GLOBAL, STATIC
from tailcall_audit.probes.kernel.btf_writer import Writer
from tailcall_audit.probes.kernel.instructions import Insn, insns_of

_SHF_ALLOC, _SHF_EXEC, _SHF_WRITE = 2, 4, 1
R_64, R_CALL = 1, 10
UNDEFINED, LOCAL, WORLD = 0, 0, 1


class Sym(NamedTuple):
    """A symbol to write; `section` is the name of its section, None undefined."""

    name: str
    section: str | None
    value: int = 0
    size: int = 0
    kind: int = 0
    binding: int = WORLD
    visibility: int = 0


class Elf:
    """Collects the parts of an object; `encode` puts them together."""

    def __init__(self, big_endian: bool = False, machine: int = 247, kind: int = 1) -> None:
        self.big_endian = big_endian
        self.machine = machine
        self.kind = kind
        self.order = ">" if big_endian else "<"
        self.sections: dict[str, tuple[int, int, bytes]] = {}
        self.symbols: list[Sym] = []
        self.relocations: dict[str, list[tuple[int, int, str]]] = {}

    def section(self, name: str, data: bytes, flags: int = _SHF_ALLOC, kind: int = 1) -> Elf:
        """Adds a section; that of another of the same name is put behind it."""
        old = self.sections.get(name, (kind, flags, b""))
        self.sections[name] = (kind, flags, old[2] + data)
        return self

    def code(self, section: str, insns: Sequence[Insn], *functions: tuple[str, int, int], local: bool = False) -> Elf:
        """Adds instructions, with functions by name, start and end in slots."""
        data = b"".join(encode(insn, self.order) for insn in insns)
        start = len(self.sections.get(section, (0, 0, b""))[2])
        self.section(section, data, _SHF_ALLOC | _SHF_EXEC)
        for name, first, last in functions:
            binding = LOCAL if local else WORLD
            self.symbols.append(Sym(name, section, start + 8 * first, 8 * (last - first), 2, binding))
        return self

    def relocate(self, section: str, offset: int, symbol: str, kind: int = R_64) -> Elf:
        """Adds a relocation at an offset in bytes."""
        self.relocations.setdefault(section, []).append((offset, kind, symbol))
        return self

    def encode(self) -> bytes:
        """Returns the object."""
        order = self.order
        names = list(self.sections)
        strings, offsets = _strings([item.name for item in self.symbols])
        ordered = sorted(self.symbols, key=lambda item: item.binding != LOCAL)
        rows = [struct.pack(f"{order}IBBHQQ", 0, 0, 0, 0, 0, 0)]
        for item in ordered:
            number = 0 if item.section is None else names.index(item.section) + 1
            info = item.binding << 4 | item.kind
            rows.append(
                struct.pack(f"{order}IBBHQQ", offsets[item.name], info, item.visibility, number, item.value, item.size)
            )
        local = 1 + sum(item.binding == LOCAL for item in ordered)
        tables: list[tuple[str, int, int, bytes, int, int, int]] = [
            (name, kind, flags, data, 0, 0, 0) for name, (kind, flags, data) in self.sections.items()
        ]
        symtab = len(tables) + 1
        tables.append((".symtab", 2, 0, b"".join(rows), symtab + 1, local, 24))
        tables.append((".strtab", 3, 0, strings, 0, 0, 0))
        number_of = {item.name: index for index, item in enumerate(ordered, 1)}
        for name, found in self.relocations.items():
            data = b"".join(
                struct.pack(f"{order}QQ", offset, number_of[symbol] << 32 | kind) for offset, kind, symbol in found
            )
            tables.append((f".rel{name}", 9, 0x40, data, symtab, names.index(name) + 1, 16))
        return self._file(tables)

    def _file(self, tables: list[tuple[str, int, int, bytes, int, int, int]]) -> bytes:
        order = self.order
        strings, offsets = _strings([*(row[0] for row in tables), ".shstrtab"])
        tables.append((".shstrtab", 3, 0, strings, 0, 0, 0))
        body = bytearray()
        headers = [bytes(64)]
        for name, kind, flags, data, link, info, entry in tables:
            body += bytes(-len(body) % 8)
            place = 64 + len(body)
            headers.append(
                struct.pack(f"{order}IIQQQQIIQQ", offsets[name], kind, flags, 0, place, len(data), link, info, 8, entry)
            )
            body += data
        body += bytes(-len(body) % 8)
        identity = b"\x7fELF\x02" + (b"\x02" if self.big_endian else b"\x01") + b"\x01" + bytes(9)
        header = identity + struct.pack(
            f"{order}HHIQQQIHHHHHH",
            self.kind,
            self.machine,
            1,
            0,
            0,
            64 + len(body),
            0,
            64,
            0,
            0,
            64,
            len(headers),
            len(tables),
        )
        return header + bytes(body) + b"".join(headers)


def encode(insn: Insn, order: str = "<") -> bytes:
    """Returns the bytes of an instruction in a byte order."""
    registers = insn.dst | insn.src << 4 if order == "<" else insn.dst << 4 | insn.src
    if insn.code != 0x18:
        return struct.pack(f"{order}BBhi", insn.code, registers, insn.off, insn.imm)
    wide = insn.imm & 0xFFFFFFFFFFFFFFFF
    return struct.pack(f"{order}BBhI", insn.code, registers, insn.off, wide & 0xFFFFFFFF) + struct.pack(
        f"{order}BBhI", 0, 0, 0, wide >> 32
    )


def _strings(names: Sequence[str]) -> tuple[bytes, dict[str, int]]:
    data = bytearray(b"\0")
    offsets = {"": 0}
    for name in names:
        if name not in offsets:
            offsets[name] = len(data)
            data += name.encode() + b"\0"
    return bytes(data), offsets


class Types(Writer):
    """BTF with what the definitions of maps need, and names for source lines; little-endian until it is in an object."""

    def __init__(self) -> None:
        super().__init__("<")

    def text(self, text: str) -> int:
        """Returns the place of a string."""
        return self._string(text)

    def array(self, element: int, index: int, count: int) -> int:
        """An array."""
        return self._add("", 3, 0, more=struct.pack("<III", element, index, count))

    def variable(self, name: str, of: int) -> int:
        """A global variable."""
        return self._add(name, 14, of, more=struct.pack("<I", 1))

    def section(self, name: str, variables: Sequence[tuple[int, int, int]]) -> int:
        """A section with its variables: type, offset and size in bytes."""
        more = b"".join(struct.pack("<III", *row) for row in variables)
        return self._add(name, 15, 0, len(variables), more)


class Definition(NamedTuple):
    """A map to define in .maps; `slots` are key and function of its initialiser."""

    name: str
    type: int
    entries: int
    slots: tuple[tuple[int, str], ...] = ()


def with_maps(elf: Elf, types: Types, definitions: Sequence[Definition]) -> None:
    """Adds .maps and their types."""
    number = types.integer("int", 4)
    variables = []
    place = 0
    for item in definitions:
        members = [
            ("type", types.pointer(types.array(number, number, item.type)), 0),
            ("max_entries", types.pointer(types.array(number, number, item.entries)), 64),
            ("key_size", types.pointer(types.array(number, number, 4)), 128),
            ("values", types.array(types.pointer(types.prototype(number, [])), number, 0), 192),
        ]
        size = 24 + 8 * (1 + max((key for key, _ in item.slots), default=-1))
        variables.append((types.variable(item.name, types.struct("", 24, members)), place, size))
        elf.symbols.append(Sym(item.name, ".maps", place, size, 1))
        for key, function in item.slots:
            elf.relocate(".maps", place + 24 + 8 * key, function)
        elf.section(".maps", bytes(size), _SHF_ALLOC | _SHF_WRITE)
        place += size
    types.section(".maps", variables)


class Line(NamedTuple):
    """A source line to write: the section and offset (bytes) of its instruction."""

    section: str
    offset: int
    file: str
    text: str
    line: int


def with_btf(
    elf: Elf, types: Types, functions: Sequence[tuple[str, int, str, bool]] = (), lines: Sequence[Line] = ()
) -> None:
    """Adds .BTF and .BTF.ext; functions are section, offset in bytes, name, and True if global."""
    number = types.integer("long", 8)
    prototype = types.prototype(number, [])
    infos: dict[str, list[bytes]] = {}
    rows: dict[str, list[bytes]] = {}
    for section, offset, name, is_global in functions:
        kind = types.function(name, prototype, GLOBAL if is_global else STATIC)
        infos.setdefault(section, []).append(struct.pack("<II", offset, kind))
    for item in lines:
        row = struct.pack("<IIII", item.offset, types.text(item.file), types.text(item.text), item.line << 10 | 3)
        rows.setdefault(item.section, []).append(row)
    parts = []
    for width, tables in ((8, infos), (16, rows)):
        data = struct.pack("<I", width)
        for section, found in tables.items():
            data += struct.pack("<II", types.text(section), len(found)) + b"".join(found)
        parts.append(data)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(parts[0]), len(parts[0]), len(parts[1]))
    btf, extra = types.encode(), header + parts[0] + parts[1]
    if elf.big_endian:
        size = struct.unpack_from("<I", btf, 12)[0]
        btf = btf[1::-1] + btf[2:4] + _swapped(btf[4 : 24 + size]) + btf[24 + size :]
        extra = extra[1::-1] + extra[2:4] + _swapped(extra[4:])
    elf.section(".BTF", btf, 0).section(".BTF.ext", extra, 0)


def _swapped(data: bytes) -> bytes:
    words = array("I", data)
    words.byteswap()
    return words.tobytes()


def program(assembly: Program) -> tuple[list[Insn], list[tuple[str, int, int]]]:
    """Returns the instructions of a program, and its functions by name, start and end in slots."""
    insns = insns_of(assembly)
    end = sum(2 if insn.code == 0x18 else 1 for insn in insns)
    starts = [*assembly.functions.values(), end]
    return insns, [
        (name, start, stop) for name, start, stop in zip(assembly.functions, starts[:-1], starts[1:], strict=True)
    ]
