"""ELF files, read by pyelftools within a budget: their contents, and whether they are kernels.

pyelftools looks names up byte by byte, and a hostile file may contain names without an end, so reads are counted.
"""

from __future__ import annotations

import io
import struct
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.libraries import elftools_errors

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

__all__ = ["Elf", "ElfError", "Linking", "Section", "Segment", "Symbol", "open_elf"]

_EXECUTABLE = 1
_MAX_MEMORY = 512 << 20
_READS = 100_000
"""The smallest budget of reads; a kernel with symbols needs one to two reads for each 24 bytes of them."""
_MOST_READS = 1_500_000
"""The largest budget of reads: a distribution's kernel has up to 300,000 symbols. They take some 15 s."""
_KERNEL_SECTIONS = frozenset((".init.text", "__ex_table", "__ksymtab", "__param", ".data..percpu", ".altinstructions"))
_USER_MODE = ".uml."
"""The starts of section names that only user-mode Linux has (arch/um/include/shared/init.h)."""
_UPPER_HALF = 1 << 63
_LOWEST = {
    "EM_X86_64": 0xFFFF_8000_0000_0000,
    "EM_AARCH64": _UPPER_HALF,
    "EM_RISCV": _UPPER_HALF,
    "EM_PPC64": _UPPER_HALF,
    "EM_LOONGARCH": _UPPER_HALF,
}
"""The lowest link addresses of 64-bit kernels of these architectures. No part of a program is linked there. s390x links
its kernels low.
"""


class ElfError(ValueError):
    """A file that is no ELF file, a broken one, or one that takes too long to read."""


class Segment(NamedTuple):
    """A part of the file that is loaded: its offset in the file, its address, its size in the file, and its size in
    memory (the rest is zeros), in bytes.
    """

    offset: int
    address: int
    size: int
    memory: int
    is_code: bool


class Section(NamedTuple):
    """A section that has bytes in the file."""

    offset: int
    size: int


class Linking(NamedTuple):
    """The facts for the dynamic linker in a program or library: the machine (e_machine) and byte order ("little",
    "big") that it is for, the linker's path ("" of a library), the names of the libraries that it needs, and the
    folders that are searched for them first (``$ORIGIN`` is its own).
    """

    machine: int
    byte_order: str
    interpreter: str
    needed: tuple[str, ...]
    search: tuple[str, ...]


class Symbol(NamedTuple):
    """A symbol of a function, an object, or a place without a type; `size` is in bytes."""

    name: str
    address: int
    size: int
    is_function: bool


class _CountedFile(io.BytesIO):
    """A file in memory that can be read so many times."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = min(_READS + len(data) // 12, _MOST_READS)

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads bytes; raises ElfError once the budget is used up."""
        self._left -= 1
        if self._left < 0:
            raise ElfError("its tables take more reading than those of any kernel")
        return super().read(size)


def open_elf(owner: object, data: bytes) -> ELFFile:
    """Opens an ELF file in memory. Its data is freed with `owner`; raises what pyelftools does.

    The objects of pyelftools refer to each other. Without this, each kernel stays in memory until Python looks for such
    circles, which a program with many objects rarely does.
    """
    from elftools.elf.elffile import ELFFile

    file = _CountedFile(data)
    weakref.finalize(owner, file.close).atexit = False
    return ELFFile(file)


def _errors() -> AbstractContextManager[None]:
    return elftools_errors(ElfError)


class Elf:
    """An ELF file. Each part is read when it is asked for; raises ElfError if it is broken."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @cached_property
    def _file(self) -> ELFFile:
        with _errors():
            return open_elf(self, self._data)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The parts that are loaded into memory."""
        with _errors():
            return tuple(
                Segment(
                    item["p_offset"],
                    item["p_vaddr"],
                    item["p_filesz"],
                    max(item["p_filesz"], min(item["p_memsz"], _MAX_MEMORY)),
                    bool(item["p_flags"] & _EXECUTABLE),
                )
                for item in self._file.iter_segments("PT_LOAD")
                if item["p_offset"] + item["p_filesz"] <= len(self._data)
            )

    @cached_property
    def sections(self) -> dict[str, Section]:
        """The sections that have bytes, by name. If two have the same name, neither is included."""
        found: dict[str, Section] = {}
        several: set[str] = set()
        with _errors():
            for item in self._file.iter_sections():
                if item["sh_type"] == "SHT_NOBITS":
                    continue
                if item.name in found:
                    several.add(item.name)
                found[item.name] = Section(item["sh_offset"], item["sh_size"])
        return {name: section for name, section in found.items() if name not in several}

    def content(self, name: str) -> bytes | None:
        """Returns the bytes of a section, None if there is none of this name."""
        section = self.sections.get(name)
        return None if section is None else self._data[section.offset : section.offset + section.size]

    def symbols(self) -> Iterator[Symbol]:
        """Yields every function, object and place in the symbol table, in its order."""
        from elftools.elf.sections import SymbolTableSection

        with _errors():
            table = self._file.get_section_by_name(".symtab")
            for symbol in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
                kind = symbol["st_info"]["type"]
                if kind in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE"):
                    yield Symbol(symbol.name, symbol["st_value"], symbol["st_size"], kind == "STT_FUNC")

    def linking(self) -> Linking:
        """Returns the file's fields for the dynamic linker."""
        from elftools.elf.dynamic import DynamicSegment
        from elftools.elf.segments import InterpSegment

        interpreter, needed, search = "", [], []
        with _errors():
            for segment in self._file.iter_segments():
                if isinstance(segment, InterpSegment):
                    interpreter = segment.get_interp_name()
                for tag in segment.iter_tags() if isinstance(segment, DynamicSegment) else ():
                    kind = tag.entry.d_tag
                    if kind == "DT_NEEDED":
                        needed.append(str(getattr(tag, "needed", "")))
                    elif kind in ("DT_RPATH", "DT_RUNPATH"):
                        search += str(getattr(tag, kind.removeprefix("DT_").lower(), "")).split(":")
            order = "little" if self._file.little_endian else "big"
            (machine,) = struct.unpack_from("<H" if order == "little" else ">H", self._data, 18)
        return Linking(machine, order, interpreter, tuple(needed), tuple(filter(None, search)))

    def why_no_kernel(self) -> str | None:
        """Returns why this is no kernel that a machine boots, None if it is one; raises ElfError.

        A program names its interpreter or its libraries, and no program has a kernel's sections. User-mode Linux is a
        kernel built as a program, with sections of its own.
        """
        with _errors():
            names = {item.name for item in self._file.iter_sections()}
            kinds = {item["p_type"] for item in self._file.iter_segments()}
            needed = [item for item in self._file.iter_segments("PT_DYNAMIC") if _needs_libraries(item)]
        if any(name.startswith(_USER_MODE) for name in names):
            return "user-mode Linux (ARCH=um), a kernel that runs as a program and has no JIT of its own"
        if "PT_INTERP" in kinds or needed:
            return "a program with an interpreter or libraries, and no kernel"
        if names and not names & _KERNEL_SECTIONS:
            return "an ELF file with none of the sections of a kernel"
        machine = self._file["e_machine"]
        if machine in _LOWEST and all(item.address < _LOWEST[machine] for item in self.segments):
            return f"an ELF file that is not linked where {machine.removeprefix('EM_')} has its kernels"
        return None


def _needs_libraries(dynamic: object) -> bool:
    from elftools.elf.dynamic import DynamicSegment

    assert isinstance(dynamic, DynamicSegment)
    return next(dynamic.iter_tags("DT_NEEDED"), None) is not None
