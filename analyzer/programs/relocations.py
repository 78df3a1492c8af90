"""Splits an object file into functions and resolves what each instruction refers to, by the relocations."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.programs.btf_ext import BtfExt, Lines
from tailcall_audit.analyzer.programs.byteorder import decode_instructions
from tailcall_audit.analyzer.programs.code import Code, ProgramsError, Reference, Refers
from tailcall_audit.analyzer.programs.elf_object import ElfObject, Relocation, Section, Symbol
from tailcall_audit.analyzer.programs.flow import indexes_by_slot, opcodes_of, slots_of
from tailcall_audit.analyzer.programs.maps import Definition, data_section
from tailcall_audit.probes.kernel import btf_format as kinds
from tailcall_audit.probes.kernel.btf import Btf, BtfError
from tailcall_audit.probes.kernel.btf_format import GLOBAL
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["Linked", "Place", "link"]

_CALL = 0x85
_REFERRING = re.compile(rb"[\x18\x85]")
"""Matches the opcodes of a 64-bit immediate and of a call, which may refer to something."""
_PSEUDO_CALL = 1
_LAST = frozenset((0x95, 0x05, 0x06, 0x0D, _CALL))
"""The last instruction of a function: an exit, an unconditional jump, or the call of a kfunc that does not return
(check_subprogs() in kernel/bpf/verifier.c; the kfunc is bpf_throw, or clang's __bpf_trap).
"""
_MAX_FUNCTIONS = 50_000


class Place(NamedTuple):
    """The place of a function: its section, and its start and end in bytes there."""

    section: Section
    start: int
    end: int
    symbol: Symbol | None


class Linked(NamedTuple):
    """The functions of an object in file order, and the index of each by (section, offset)."""

    codes: tuple[Code, ...]
    places: tuple[Place, ...]
    by_place: dict[tuple[int, int], int]


class _Linker:
    def __init__(
        self,
        elf: ElfObject,
        btf: Btf | None,
        extra: BtfExt | None,
        definitions: tuple[Definition, ...],
    ) -> None:
        self._elf = elf
        self._btf = btf
        self._extra = extra
        self._lines = None if btf is None else Lines(btf)
        self._maps = {(item.section, item.offset): item for item in definitions}
        self._sorted: dict[str, list[int]] = {}
        self._types: dict[tuple[str, int], int] = {}
        for name, rows in () if extra is None else extra.functions.items():
            self._types.update({(name, row.offset): row.type for row in rows})
        self.places = tuple(self._find())
        self.index = {(item.section.number, item.start): number for number, item in enumerate(self.places)}

    def _find(self) -> Iterator[Place]:
        """Yields the functions of every code section. Without function symbols, a section is split as its BTF says, or
        is one function. Raises ProgramsError if a function lies outside of the code.
        """
        by_section: dict[int, dict[int, Symbol]] = {}
        for symbol in self._elf.symbols:
            if symbol.is_function and symbol.section:
                self._check(symbol)
                by_section.setdefault(symbol.section, {}).setdefault(symbol.value, symbol)
        count = 0
        for section in self._elf.sections:
            if not section.is_code or not section.size:
                continue
            symbols = by_section.get(section.number, {})
            starts = sorted(symbols)
            if not starts and self._extra is not None:
                infos = self._extra.functions.get(section.name, ())
                starts = sorted({item.offset for item in infos if item.offset < section.size and item.offset % 8 == 0})
            if not starts or starts[0] != 0:
                starts.insert(0, 0)
            for start, end in zip(starts, (*starts[1:], section.size), strict=True):
                count += 1
                if count > _MAX_FUNCTIONS:
                    raise ProgramsError(f"more than {_MAX_FUNCTIONS} functions")
                yield Place(section, start, end, symbols.get(start))

    def _check(self, symbol: Symbol) -> None:
        sections = self._elf.sections
        section = sections[symbol.section] if symbol.section < len(sections) else None
        is_whole = section is not None and section.is_code and symbol.value + max(symbol.size, 8) <= section.size
        if not is_whole or symbol.value % 8:
            raise ProgramsError(f"function {symbol.name} lies outside of its section")

    def codes(self) -> Iterator[Code]:
        """Yields the code of every function."""
        tables: dict[int, tuple[dict[int, Relocation], bytes]] = {}
        for place in self.places:
            kept = tables.get(place.section.number)
            if kept is None:
                rows = {item.offset: item for item in self._elf.relocations(place.section)}
                kept = tables[place.section.number] = rows, self._elf.content(place.section)
            yield self._code(place, *kept)

    def _code(self, place: Place, rows: dict[int, Relocation], data: bytes) -> Code:
        instructions = decode_instructions(data[place.start : place.end], self._elf.big_endian)
        if not instructions or instructions[-1].code not in _LAST:
            raise ProgramsError(
                f"the code of section {place.section.name!r} that ends at byte {place.end} does not return"
            )
        references: dict[int, Reference] = {}
        slots = slots_of(instructions)
        for index in [match.start() for match in _REFERRING.finditer(opcodes_of(instructions))]:
            offset = place.start + 8 * slots[index]
            found = self._refers(instructions[index], place, offset, rows.get(offset))
            if found is not None:
                references[index] = found
        name, is_global = self._named(place)
        lines, constant = {}, frozenset[int]()
        if self._extra is not None and self._lines is not None:
            by_slot = indexes_by_slot(slots)
            for row in self._rows_of(place):
                at, within = divmod(row[0] - place.start, 8)
                if not within and at in by_slot:
                    lines[by_slot[at]] = self._lines.line(*row[1:])
            relocated = (divmod(at - place.start, 8) for at in self._extra.relocated.get(place.section.name, ()))
            constant = frozenset(by_slot[at] for at, within in relocated if not within and at in by_slot)
        return Code(name, tuple(instructions), references, is_global, lines, constant)

    def _rows_of(self, place: Place) -> list[tuple[int, int, int, int]]:
        assert self._extra is not None
        rows = self._extra.lines.get(place.section.name, [])
        if rows and not self._sorted.get(place.section.name):
            rows.sort()
            self._sorted[place.section.name] = [row[0] for row in rows]
        offsets = self._sorted.get(place.section.name, [])
        return rows[bisect_right(offsets, place.start - 1) : bisect_right(offsets, place.end - 1)]

    def _named(self, place: Place) -> tuple[str, bool | None]:
        """Returns the name of a function and whether BTF says that it is global. As in libbpf, a hidden function is
        static.
        """
        name = None if place.symbol is None else place.symbol.name
        is_global: bool | None = None
        number = self._types.get((place.section.name, place.start))
        if number is not None and self._btf is not None:
            try:
                found = self._btf.type(number)
            except BtfError:
                found = None
            if found is not None and found.kind == kinds.FUNC:
                name = name or found.name
                hidden = place.symbol is not None and place.symbol.is_local
                is_global = found.members == GLOBAL and not hidden
        return name or place.section.name or f"section {place.section.number}", is_global

    def _refers(self, insn: Insn, place: Place, offset: int, row: Relocation | None) -> Reference | None:
        if row is None:
            if insn.code == _CALL and insn.src == _PSEUDO_CALL:
                return self._function(Refers.FUNCTION, place.section.number, offset + 8 + 8 * insn.imm)
            return None
        if not 0 <= row.symbol < len(self._elf.symbols):
            raise ProgramsError(f"a relocation of section {place.section.name!r} names no symbol")
        symbol = self._elf.symbols[row.symbol]
        if symbol.section == 0 and not symbol.name:
            raise ProgramsError(f"a relocation of section {place.section.name!r} names no symbol")
        if symbol.section == 0:
            if insn.code == _CALL:
                return Reference(Refers.KFUNC, symbol.name)
            return Reference(Refers.UNKNOWN, symbol.name, frozen=symbol.name.startswith("LINUX_"))
        if insn.code == _CALL:
            return self._function(Refers.FUNCTION, symbol.section, symbol.value + 8 * (insn.imm + 1))
        added = insn.imm & 0xFFFFFFFF
        if not 0 < symbol.section < len(self._elf.sections):
            return Reference(Refers.UNKNOWN, symbol.name)
        section = self._elf.sections[symbol.section]
        if section.is_code:
            return self._function(Refers.ADDRESS, symbol.section, symbol.value + added)
        if data_section(section):
            frozen = (self._maps[section.number, 0].frozen) if (section.number, 0) in self._maps else False
            return Reference(Refers.VALUE, section.name, 0, symbol.value + added, frozen)
        if (found := self._maps.get((symbol.section, symbol.value + added))) is not None:
            return Reference(Refers.MAP, found.name)
        return Reference(Refers.UNKNOWN, symbol.name)

    def _function(self, kind: Refers, section: int, offset: int) -> Reference:
        number = self.index.get((section, offset))
        if number is None:
            raise ProgramsError(f"a call goes to byte {offset} of section {section}, where no function begins")
        place = self.places[number]
        return Reference(kind, place.section.name if place.symbol is None else place.symbol.name, number)


def link(elf: ElfObject, btf: Btf | None, extra: BtfExt | None, definitions: tuple[Definition, ...]) -> Linked:
    """Returns the functions of an object. Raises ProgramsError if a table is broken or a part of the code is not there: no
    loader takes such an object.
    """
    linker = _Linker(elf, btf, extra, definitions)
    codes = tuple(linker.codes())
    return Linked(codes, linker.places, linker.index)
