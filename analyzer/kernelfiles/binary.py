"""The contents of an unpacked kernel: its banner, its configuration, its BTF, its functions and their code."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.compression import BrokenDataError, compression_of, decompress
from tailcall_audit.analyzer.kernelfiles.containers import ImageError, Kernel, SeveralKernelsError
from tailcall_audit.analyzer.kernelfiles.elf import Elf, ElfError, Section, Segment
from tailcall_audit.analyzer.kernelfiles.kallsyms import Kallsyms
from tailcall_audit.analyzer.kernelfiles.kallsyms_tables import KallsymsError
from tailcall_audit.analyzer.kernelfiles.relocations import Relocations, find_relocations
from tailcall_audit.probes.kernel.btf import Btf, BtfError

__all__ = ["Binary", "Function", "Segment"]

_BANNER = re.compile(rb"Linux version (\d[^\0\n]{0,511})")
_BUILD = re.compile(rb"\) #\d")
_MAX_BANNERS = 64
_LITTLE_64 = b"\x02\x01"
_MAX_BTF = 64 << 20
_CONFIG_START, _CONFIG_END = b"IKCFG_ST", b"IKCFG_ED"
_MAX_CONFIG = 16 << 20
_BTF_HEADERS = ((b"\x9f\xeb\x01\0\x18\0\0\0", "<IIII"), (b"\xeb\x9f\x01\0\0\0\0\x18", ">IIII"))
"""How BTF begins in either byte order, and the numbers behind that."""
_MAX_FUNCTION = 1 << 18
_MAX_MEMORY = 512 << 20
_FLAT_ADDRESSES = {"arm64": 0xFFFF_8000_8000_0000, "riscv64": 0xFFFF_FFFF_8000_0000}
"""The link addresses of kernels that are a flat Image. arm64 kernels with a table of relocations (before v6.6) have
others.
"""


class Function(NamedTuple):
    """A function's address and machine code."""

    name: str
    address: int
    code: bytes


class Binary:
    """A kernel's binary. Each part is looked for when it is asked for; a missing or broken part is None."""

    def __init__(self, kernel: Kernel, symbols: dict[str, tuple[int, int]] | None = None) -> None:
        self._kernel = kernel
        self._data = kernel.data
        self._symbols = symbols
        self._elf = Elf(kernel.data) if kernel.is_elf else None
        self.notes: list[str] = []

    @cached_property
    def banners(self) -> tuple[str, ...]:
        """The different lines that /proc/version would show. A kernel has one.

        Since 6.1 there is one without the number of the build too (init/version.c), for the time before that is known:
        it counts only if nothing else names its release.
        """
        found = dict.fromkeys(match.group(1) for match in islice(_BANNER.finditer(self._data), _MAX_BANNERS))
        whole = [line for line in found if _BUILD.search(line)]
        named = {line.split()[0] for line in whole}
        kept = [*whole, *(line for line in found if line not in whole and line.split()[0] not in named)]
        return tuple(f"Linux version {line.decode('ascii', 'replace').rstrip()}" for line in kept)

    def identify(self, name: str) -> str:
        """Returns the banner if the image names one kernel throughout; raises ImageError otherwise."""
        if (reason := self.why_no_kernel) is not None:
            raise ImageError(f"{name}: {reason}")
        if not self.banners:
            raise ImageError(
                f'{name}: no banner in it ("Linux version …"): not a Linux kernel, or one that is encrypted or packed in a way unknown here'
            )
        if len(self.banners) > 1:
            shown = " and ".join(repr(line[:100]) for line in self.banners[:2])
            raise SeveralKernelsError(
                f"{name}: it names {len(self.banners)} kernels, so which one it is is not known: {shown}"
            )
        banner = self.banners[0]
        for declared in self._kernel.declared:
            # "6.1.0-47-amd64 (maintainer) #1 SMP Debian 6.1.170-3 (2026-05-08)": the ends are one in both (arch/x86/boot/version.c).
            _, mark, build = declared.partition(") #")
            if banner.split()[2] != declared.split()[0] or (mark and not banner.endswith(mark + build)):
                raise SeveralKernelsError(
                    f"{name}: its header names {declared[:100]!r} and the kernel in it {banner[:160]!r}:"
                    " which one it is is not known"
                )
        return banner

    @cached_property
    def why_no_kernel(self) -> str | None:
        """The reason why a machine does not boot this file as a kernel; None if there is no sign of that."""
        if self._elf is None:
            return None
        try:
            return self._elf.why_no_kernel()
        except ElfError as error:
            return f"a broken ELF file: {error}"

    @cached_property
    def config(self) -> str | None:
        """The embedded configuration (CONFIG_IKCONFIG): gzip data between two marks, kernel/configs.c."""
        start = self._data.find(_CONFIG_START)
        end = self._data.find(_CONFIG_END, start)
        if start < 0 or end < 0:
            return None
        try:
            packed = self._data[start + len(_CONFIG_START) : end]
            if compression_of(packed[:9]) != "gzip":
                raise BrokenDataError("the embedded configuration: not gzip data")
            text = decompress(packed, "the embedded configuration", _MAX_CONFIG)
        except BrokenDataError as error:
            self.notes.append(str(error))
            return None
        return text.decode("utf-8", "replace")

    @cached_property
    def _sections(self) -> dict[str, Section]:
        try:
            return {} if self._elf is None else self._elf.sections
        except ElfError as error:
            self.notes.append(f"its ELF sections cannot be read: {error}")
            return {}

    @cached_property
    def segments(self) -> list[Segment]:
        """The parts of the kernel that are loaded, and their addresses."""
        if self._elf is None:
            return self._flat() if self._kernel.architecture in _FLAT_ADDRESSES else []
        if self._data[4:6] != _LITTLE_64:
            return []
        try:
            return list(self._elf.segments)
        except ElfError as error:
            self.notes.append(f"its ELF program headers cannot be read: {error}")
            return []

    def _flat(self) -> list[Segment]:
        """Returns all of an Image as one part. Its header has its size in memory (Linux
        Documentation/arch/arm64/booting.rst, the same on riscv64).
        """
        (memory,) = struct.unpack_from("<Q", self._data, 16)
        size = len(self._data)
        base = _FLAT_ADDRESSES[self._kernel.architecture or ""] if self.relocations is None else self.relocations.base
        return [Segment(0, base, size, max(size, min(memory, _MAX_MEMORY)), True)]

    @cached_property
    def relocations(self) -> Relocations | None:
        """The pointers that an arm64 Image lacks until it boots; None if all are in place."""
        return None if self._kernel.is_elf or self._kernel.architecture != "arm64" else find_relocations(self._data)

    @property
    def data(self) -> bytes:
        """The unpacked kernel."""
        return self._data

    def relocate(self, out: bytearray, start: int, place: int, size: int) -> None:
        """Writes the pointers that boot would write into `size` bytes of `out` from `start` on, a copy of the file from
        `place` on.
        """
        if self.relocations is None:
            return
        for where, value in self.relocations.between(place, place + size):
            first, last = max(where, place), min(where + 8, place + size)
            out[start + first - place : start + last - place] = value.to_bytes(8, "little")[
                first - where : last - where
            ]

    def addresses(self, names: Iterable[str]) -> dict[str, tuple[int, ...]] | None:
        """Returns all addresses of each of these symbols, code or data; None if there is no table of symbols."""
        wanted = frozenset(names)
        if self._kernel.is_elf and ".symtab" in self._sections:
            return self._all_of_symbol_table(wanted)
        if self.kallsyms is not None:
            return self.kallsyms.addresses(wanted)
        if self._symbols is None:
            return None
        return {name: (self._symbols[name][0],) for name in wanted if name in self._symbols}

    def symbol_at(self, address: int) -> str | None:
        """Returns the name of the function at an address; None if no table says."""
        return None if self.kallsyms is None else self.kallsyms.name_at(address)

    def _all_of_symbol_table(self, wanted: frozenset[str]) -> dict[str, tuple[int, ...]]:
        found: dict[str, list[int]] = {}
        for name, variant, address, _ in self._symbol_table:
            if name in wanted and not variant.startswith(("cold", "part")):
                found.setdefault(name, []).append(address)
        return {name: tuple(dict.fromkeys(where)) for name, where in found.items()}

    def _pointer_at(self, place: int) -> int:
        (found,) = struct.unpack_from("<Q", self._data, place)
        known = None if self.relocations is None else self.relocations.value_at(place)
        return int(found) if known is None else known

    def _address_of(self, place: int) -> int | None:
        return next(
            (
                item.address + place - item.offset
                for item in self.segments
                if item.offset <= place < item.offset + item.size
            ),
            None,
        )

    def _place_of(self, address: int) -> int | None:
        return next(
            (
                item.offset + address - item.address
                for item in self.segments
                if item.address <= address < item.address + item.size
            ),
            None,
        )

    @cached_property
    def btf(self) -> Btf | None:
        """The kernel's type data: the section .BTF, or data that begins with a header of it."""
        section = self._sections.get(".BTF")
        whole = () if section is None else (self._data[section.offset : section.offset + section.size],)
        for data in whole or self._headers():
            try:
                found = Btf(data)
                if found.has_function("bpf_check") or found.member("bpf_prog_aux", "ops") is not None:
                    return found
            except BtfError as error:
                self.notes.append(f"its BTF cannot be read: {error}")
        return None

    def _headers(self) -> Iterator[bytes]:
        for header, form in _BTF_HEADERS:
            place = self._data.find(header)
            for _ in range(16):
                if place < 0:
                    break
                if place + 24 <= len(self._data):
                    types, types_size, strings, strings_size = struct.unpack_from(form, self._data, place + 8)
                    end = place + 24 + max(types + types_size, strings + strings_size)
                    if types_size > 1000 and end <= min(len(self._data), place + _MAX_BTF):
                        yield self._data[place:end]
                place = self._data.find(header, place + 1)

    def functions(self, names: Iterable[str]) -> dict[str, Function]:
        """Returns the functions of these names that can be found, with their code: by the symbols given, those in the
        file, or kallsyms.
        """
        wanted = tuple(names)
        found: dict[str, Function] = {}
        for name, (address, size) in self._find(wanted).items():
            place = self._place_of(address)
            if place is not None and 0 < size <= _MAX_FUNCTION and place + size <= len(self._data):
                found[name] = Function(name, address, self._data[place : place + size])
        return found

    def _find(self, wanted: tuple[str, ...]) -> dict[str, tuple[int, int]]:
        if self._symbols is not None:
            names = (*wanted, *(f"{name}.part" for name in wanted))
            return {name: self._symbols[name] for name in names if name in self._symbols}
        if self._kernel.is_elf and ".symtab" in self._sections:
            return self._from_symbol_table(frozenset(wanted))
        return {} if self.kallsyms is None else self.kallsyms.functions(wanted)

    @cached_property
    def kallsyms(self) -> Kallsyms | None:
        """The kernel's own symbol table."""
        if not self.segments:
            return None
        try:
            return Kallsyms(self._data, self._address_of, self._pointer_at)
        except (KallsymsError, struct.error, IndexError, ValueError) as error:
            self.notes.append(f"its functions cannot be located: {error}")
            return None

    @cached_property
    def _symbol_table(self) -> list[tuple[str, str, int, int]]:
        """Name, variant, address and size (0 of data) of every symbol of an ELF file with symbols."""
        found = []
        try:
            for symbol in () if self._elf is None else self._elf.symbols():
                name, _, variant = symbol.name.partition(".")
                found.append((name, variant, symbol.address, symbol.size if symbol.is_function else 0))
        except ElfError as error:
            self.notes.append(f"its symbol table cannot be read: {error}")
        return found

    def _from_symbol_table(self, wanted: frozenset[str]) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        several: set[str] = set()
        for plain, variant, address, size in self._symbol_table:
            if plain in wanted and size and not variant.startswith("cold"):
                name = f"{plain}.part" if variant.startswith("part") else plain
                if name in found:
                    several.add(name)
                found[name] = (address, size)
        return {name: where for name, where in found.items() if name not in several}
