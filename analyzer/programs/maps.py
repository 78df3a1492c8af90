"""Reads the maps that an object file defines: in BTF (.maps), as rows of a table (maps), and for its global data."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.elf_object import SECTION, ElfObject, Section, Symbol
from tailcall_audit.analyzer.programs.names import map_type
from tailcall_audit.probes.kernel import btf_format as kinds
from tailcall_audit.probes.kernel.btf import Btf, BtfError

__all__ = ["Definition", "Initialiser", "data_section", "read_maps"]

_DATA = re.compile(r"\.(?:rodata|data|bss|kconfig|addr_space|percpu)(?:\..*)?")
_FROZEN = (".rodata", ".kconfig")
_LEGACY = re.compile(r"maps(?:/.*)?")
_POINTER = 8
_MAX_SLOTS = 1 << 20
_MAX_MAPS = 20_000


class Initialiser(NamedTuple):
    """A map slot that is filled at load time: the key, and the index of the symbol that is put there."""

    key: int
    symbol: int


class Definition(NamedTuple):
    """A map of an object. It is defined at `section` and `offset` (bytes). `number` is the id by which iproute2 refers
    to it.
    """

    name: str
    type: str
    max_entries: int
    section: int
    offset: int
    slots: tuple[Initialiser, ...]
    frozen: bool = False
    number: int | None = None


def data_section(section: Section) -> bool:
    """Returns True for a section of global data, which is loaded as a map with one entry."""
    return _DATA.fullmatch(section.name) is not None


def read_maps(elf: ElfObject, btf: Btf | None) -> tuple[Definition, ...]:
    """Returns every map that an object defines. Raises ProgramsError if one cannot be read: what a program does with it
    is not known then.
    """
    found: list[Definition] = []
    for section in elf.sections:
        if section.name == ".maps":
            try:
                found += _from_btf(elf, section, btf)
            except (BtfError, ProgramsError) as error:
                raise ProgramsError(f"the maps in .maps cannot be read: {error}") from error
        elif _LEGACY.fullmatch(section.name):
            found += _legacy(elf, section)
        elif data_section(section) and section.size:
            frozen = section.name.startswith(_FROZEN)
            found.append(Definition(section.name, "array", 1, section.number, 0, (), frozen))
    if any(symbol.section == 0 and symbol.name.startswith("LINUX_") for symbol in elf.symbols):
        found.append(Definition(".kconfig", "array", 1, 0, 0, (), True))
    if len(found) > _MAX_MAPS:
        raise ProgramsError(f"more than {_MAX_MAPS:,} maps")
    return tuple(found)


def _symbols_in(elf: ElfObject, section: Section) -> list[Symbol]:
    return sorted(
        (item for item in elf.symbols if item.section == section.number and item.kind != SECTION and item.name),
        key=lambda item: item.value,
    )


class _Variable(NamedTuple):
    name: str
    type: int
    offset: int
    size: int


def variables(btf: Btf, section: str) -> list[_Variable]:
    """Returns the variables of a section, with their offsets in bytes. Raises BtfError."""
    number = btf.find(section, kinds.DATASEC)
    if number is None:
        return []
    found = btf.type(number)
    rows = []
    for index in range(found.members):
        kind, offset, size = btf.words(found.position + 12 * index, 3)
        variable = btf.type(kind)
        if variable.kind == kinds.VAR:
            rows.append(_Variable(variable.name, variable.value, offset, size))
    return rows


def _from_btf(elf: ElfObject, section: Section, btf: Btf | None) -> list[Definition]:
    if btf is None:
        raise ProgramsError("the object has no BTF that can be read")
    rows = variables(btf, section.name)
    if section.size and not rows:
        raise ProgramsError("its BTF has none of them")
    offsets = _offsets(elf, section)
    relocations = sorted((item.offset, item.symbol) for item in elf.relocations(section))
    found = []
    for row in rows:
        # An object that was not linked has no offsets in its BTF yet; libbpf takes them from the symbols.
        offset = offsets.get(row.name, row.offset)
        number = btf.resolve(row.type)
        if not number or btf.type(number).kind != kinds.STRUCT:
            raise ProgramsError(f"map {row.name} is no struct")
        size = btf.type(number).value
        kind = entries = 0
        values = None
        for member in btf.members(number):
            if member.name == "type":
                kind = _integer(btf, member.type)
            elif member.name == "max_entries":
                entries = _integer(btf, member.type)
            elif member.name == "values":
                values = member.offset // 8
        end = offset + max(size, row.size)
        slots = () if values is None else tuple(_slots(relocations, offset + values, end))
        found.append(Definition(row.name, map_type(kind), entries, section.number, offset, slots))
    return found


def _offsets(elf: ElfObject, section: Section) -> dict[str, int]:
    return {item.name: item.value for item in _symbols_in(elf, section)}


def _slots(relocations: list[tuple[int, int]], start: int, end: int) -> Iterator[Initialiser]:
    for offset, symbol in relocations:
        if start <= offset < end and (offset - start) % _POINTER == 0 and (offset - start) // _POINTER < _MAX_SLOTS:
            yield Initialiser((offset - start) // _POINTER, symbol)


def _integer(btf: Btf, number: int) -> int:
    """Returns the value of ``__uint(name, number)``, which is encoded as a pointer to an array of that length. Raises
    BtfError.
    """
    pointer = btf.resolve(number)
    if not pointer or btf.type(pointer).kind != kinds.PTR:
        raise BtfError("an attribute of a map is no pointer")
    return btf.array(btf.resolve(btf.type(pointer).value))[2]


def _legacy(elf: ElfObject, section: Section) -> Iterator[Definition]:
    """Yields the maps in a table. libbpf's struct bpf_map_def begins like iproute2's struct bpf_elf_map (type, key
    size, value size, entries, flags, id). Raises ProgramsError.
    """
    data = elf.content(section)
    symbols = _symbols_in(elf, section)
    if not symbols or len(data) // len(symbols) < 16:
        raise ProgramsError(f"the maps in {section.name!r} cannot be read: no symbol for each of them")
    width = len(data) // len(symbols)
    order = ">" if elf.big_endian else "<"
    for symbol in symbols:
        if symbol.value + min(width, 16) > len(data):
            raise ProgramsError(f"map {symbol.name} lies outside of {section.name!r}")
        kind, _, _, entries = struct.unpack_from(f"{order}4I", data, symbol.value)
        number = None
        if width >= 36 and symbol.value + 24 <= len(data):
            (number,) = struct.unpack_from(f"{order}I", data, symbol.value + 20)
        yield Definition(symbol.name, map_type(kind), entries, section.number, symbol.value, (), number=number)
