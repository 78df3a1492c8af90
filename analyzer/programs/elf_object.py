"""A BPF object file: its sections, symbols and relocations.

pyelftools reads the headers and names, within a limit on reads. The tables of symbols and relocations have rows of
fixed width, thousands in an object, and are read with `struct`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.elf import open_elf
from tailcall_audit.analyzer.libraries import elftools_errors
from tailcall_audit.analyzer.programs.code import ProgramsError

__all__ = ["FUNCTION", "MACHINE", "SECTION", "ElfObject", "Relocation", "Section", "Symbol"]

MACHINE = 247
"""EM_BPF in elf.h. LLVM wrote 0 (EM_NONE) before this number was assigned; libbpf accepts both."""
_RELOCATABLE = 1
_MAX_SECTIONS = 20_000
_MAX_ROWS = 2_000_000
_MAX_NAME = 1024
_SYMTAB, _RELA, _NOBITS, _REL = 2, 4, 8, 9
_EXECUTABLE = 4
FUNCTION, SECTION = 2, 3
"""Kinds of symbols (STT_FUNC, STT_SECTION)."""
_COMPRESSED = 0x800


class Section(NamedTuple):
    """A section's header. Offset and size are in bytes."""

    number: int
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    entry: int

    @property
    def is_code(self) -> bool:
        """True if the section contains instructions."""
        return bool(self.flags & _EXECUTABLE) and self.kind == 1


class Symbol(NamedTuple):
    """A symbol. `section` is the number of its section (0: undefined), `value` the offset in the section."""

    name: str
    value: int
    size: int
    kind: int
    binding: int
    visibility: int
    section: int

    @property
    def is_function(self) -> bool:
        """True for a function (STT_FUNC)."""
        return self.kind == FUNCTION

    @property
    def is_local(self) -> bool:
        """True if other files cannot refer to it: STB_LOCAL, or a visibility that libbpf treats as static (hidden,
        internal).
        """
        return self.binding == 0 or self.visibility in (1, 2)


class Relocation(NamedTuple):
    """A place in a section, in bytes, and the index of the symbol whose value is put there."""

    offset: int
    kind: int
    symbol: int


class ElfObject:
    """A relocatable BPF object. Raises ProgramsError if the data is not one or is broken."""

    def __init__(self, data: bytes) -> None:
        if not data.startswith(b"\x7fELF"):
            raise ProgramsError("not an ELF file")
        self._data = data
        with elftools_errors(lambda words: ProgramsError(f"a broken ELF file: {words}")):
            self._file = open_elf(self, data)
            machine = self._file.header["e_machine"]
            kind = self._file.header["e_type"]
            number = {"EM_BPF": MACHINE, "EM_NONE": 0}.get(machine, machine)
        if number not in (MACHINE, 0):
            raise ProgramsError(f"an ELF file for {str(machine).removeprefix('EM_')}, not BPF")
        if kind not in ("ET_REL", _RELOCATABLE):
            raise ProgramsError("an ELF file for BPF that is no relocatable object")
        if self._file.elfclass != 64:
            raise ProgramsError("a 32-bit ELF file, which BPF objects never are")
        self.big_endian = not self._file.little_endian
        self._order = ">" if self.big_endian else "<"

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """All sections, in the order of their indexes."""
        with elftools_errors(lambda words: ProgramsError(f"a broken ELF file: {words}")):
            if (count := self._file.num_sections()) > _MAX_SECTIONS:
                raise ProgramsError(f"{count} sections, more than {_MAX_SECTIONS}")
            # iter_sections() is avoided: it creates objects that read tables, which may be broken.
            table = self._file._section_header_stringtable
            headers = [self._file._get_section_header(index) for index in range(count)]
            rows = [
                Section(
                    index,
                    "" if table is None else table.get_string(header["sh_name"])[:_MAX_NAME],
                    _number(header["sh_type"]),
                    header["sh_flags"],
                    header["sh_offset"],
                    header["sh_size"],
                    header["sh_link"],
                    header["sh_info"],
                    header["sh_entsize"],
                )
                for index, header in enumerate(headers)
            ]
        return tuple(rows)

    def section(self, name: str) -> Section | None:
        """Returns the first section with a name."""
        return next((item for item in self.sections if item.name == name), None)

    def content(self, section: Section) -> bytes:
        """Returns the bytes of a section. Raises ProgramsError if some of them are missing."""
        if section.kind == _NOBITS:
            return b""
        if section.flags & _COMPRESSED:
            raise ProgramsError(f"section {section.name!r} is compressed, which no loader of BPF reads")
        data = self._data[section.offset : section.offset + section.size]
        if len(data) != section.size:
            raise ProgramsError(f"section {section.name!r} is cut off")
        return data

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbol table in file order, because relocations refer to symbols by index. Empty if it was stripped."""
        table = next((item for item in self.sections if item.kind == _SYMTAB), None)
        if table is None:
            return ()
        names = self._names(table.link)
        rows = self._rows(table, self._order + "IBBHQQ")
        return tuple(
            Symbol(names(name), value, size, info & 15, info >> 4, other & 3, section)
            for name, info, other, section, value, size in rows
        )

    def relocations(self, section: Section) -> Iterator[Relocation]:
        """Yields the relocations of a section, from all of its relocation tables."""
        for table in self._tables.get(section.number, ()):
            layout = "QQ" if table.kind == _REL else "QQq"
            for row in self._rows(table, self._order + layout):
                yield Relocation(row[0], row[1] & 0xFFFFFFFF, row[1] >> 32)

    @cached_property
    def _tables(self) -> dict[int, list[Section]]:
        found: dict[int, list[Section]] = {}
        for item in self.sections:
            if item.kind in (_REL, _RELA):
                found.setdefault(item.info, []).append(item)
        return found

    def _rows(self, table: Section, layout: str) -> Iterator[tuple[int, ...]]:
        row = struct.Struct(layout)
        data = self.content(table)
        if len(data) % row.size or len(data) // row.size > _MAX_ROWS:
            raise ProgramsError(f"section {table.name!r} is no table of {row.size}-byte rows")
        return row.iter_unpack(data)

    def _names(self, index: int) -> Names:
        if not 0 < index < len(self.sections):
            raise ProgramsError("its symbol table names no table of strings")
        return Names(self.content(self.sections[index]))


class Names:
    """A table of NUL-terminated strings."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._known: dict[int, str] = {}

    def __call__(self, offset: int) -> str:
        """Returns the string at an offset, cut at 1,024 bytes. Raises ProgramsError for an offset outside of
        the table.
        """
        found = self._known.get(offset)
        if found is None:
            end = self._data.find(b"\0", offset, offset + _MAX_NAME)
            if end < 0:
                raise ProgramsError(f"no name of at most {_MAX_NAME} bytes at {offset} of a table of strings")
            found = self._known[offset] = self._data[offset:end].decode("utf-8", "replace")
        return found


def _number(kind: object) -> int:
    """Returns the number of a section type, for which pyelftools may have a name."""
    from elftools.elf.enums import ENUM_SH_TYPE_BASE

    return kind if isinstance(kind, int) else int(ENUM_SH_TYPE_BASE.get(str(kind), -1))
