"""The kernel image that the emulator runs: its bytes by address, its symbols and its types."""

from __future__ import annotations

import struct
from functools import cached_property

from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.kernelfiles.binary import Binary, Segment
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["KernelImage"]

_KERNEL = 1 << 63
"""Addresses below this one belong to user space."""
_BUG_ENTRIES = (12, 16)
"""Sizes in bytes of an entry with relative pointers: address, file, line, flags. Newer kernels add a format."""
_MAX_TABLE = 16 << 20


class KernelImage:
    """An unpacked kernel. `architecture` is its name in the catalogue. Raises EmulationError for missing items."""

    def __init__(self, binary: Binary, architecture: str) -> None:
        self.binary = binary
        self.architecture = architecture
        self.segments = [item for item in binary.segments if item.address >= _KERNEL]
        """The segments that are mapped. The x86-64 per-CPU data that is linked at 0 is not mapped there: code that
        touches that address follows a NULL pointer.
        """
        self._data = binary.data
        self._addresses: dict[str, tuple[int, ...]] = {}
        self._has_symbols = True

    @cached_property
    def text(self) -> tuple[int, int]:
        """Returns the start and end of the code that a booted kernel only changes by patching itself; both are 0 if
        unknown.
        """
        start, end = self.find("_stext"), self.find("_etext")
        if start is not None and end is not None:
            return start, end
        codes = [item for item in self.segments if item.is_code] if len(self.segments) > 1 else []
        return (codes[0].address, codes[0].address + codes[0].size) if codes else (0, 0)

    @cached_property
    def btf(self) -> Btf:
        """The kernel's types."""
        found = self.binary.btf
        if found is None:
            raise EmulationError(Why.NO_BTF, "CONFIG_DEBUG_INFO_BTF is off, or the data is broken")
        return found

    def learn(self, names: frozenset[str]) -> None:
        """Looks up many symbols in one pass over the symbol table."""
        missing = names - self._addresses.keys()
        if missing:
            found = self.binary.addresses(missing)
            self._has_symbols = found is not None
            found = found or {}
            self._addresses |= {name: found.get(name, ()) for name in missing}

    def find(self, name: str) -> int | None:
        """Returns the address of a symbol; None if there is none, or more than one."""
        found = self.all_of(name)
        return found[0] if len(found) == 1 else None

    def all_of(self, name: str) -> tuple[int, ...]:
        """Returns every address of a symbol."""
        if name not in self._addresses:
            self.learn(frozenset((name,)))
        return self._addresses[name]

    def function(self, name: str) -> int:
        """Returns the address of the function of this name; raises EmulationError unless there is exactly one."""
        found = self.all_of(name)
        if not self._has_symbols:
            raise EmulationError(Why.NO_SYMBOLS, "it has none, or one of a form that is not known here")
        if len(found) != 1:
            raise EmulationError(Why.SEVERAL_FUNCTIONS if found else Why.NO_FUNCTION, f"{name}()")
        return found[0]

    def name_at(self, address: int) -> str | None:
        """Returns the symbol that an address belongs to; None outside the kernel."""
        return self.binary.symbol_at(address) if self.segment_of(address) is not None else None

    def segment_of(self, address: int) -> Segment | None:
        """Returns the part of the kernel that holds an address."""
        return next((item for item in self.segments if item.address <= address < item.address + item.memory), None)

    def read(self, address: int, size: int) -> bytes:
        """Returns bytes as a booted kernel has them before it patches itself: zeros after the part that is in the file,
        pointers relocated. Addresses outside the kernel read as zeros. Data that is linked at 0 is read at 0.
        """
        out = bytearray(size)
        for item in self.binary.segments:
            start, end = max(address, item.address), min(address + size, item.address + item.size)
            if start < end:
                place = item.offset + start - item.address
                out[start - address : end - address] = self._data[place : place + end - start]
                self.binary.relocate(out, start - address, place, end - start)
        return bytes(out)

    @cached_property
    def _warnings(self) -> frozenset[int]:
        """Addresses of the traps that are a WARN(): the kernel continues after them (struct bug_entry,
        BUGFLAG_WARNING).
        """
        table = self.table("__start___bug_table", "__stop___bug_table")
        if table is None:
            return frozenset()
        start, data = table
        for size in _BUG_ENTRIES:
            rows = [
                (
                    start + place + struct.unpack_from("<i", data, place)[0],
                    struct.unpack_from("<H", data, place + size - 2)[0],
                )
                for place in range(0, len(data) - size + 1, size)
            ]
            if len(data) % size == 0 and all(self.segment_of(address) is not None for address, _ in rows[:64]):
                return frozenset(address for address, flags in rows if flags & 1)
        return frozenset()

    def is_warning(self, address: int) -> bool:
        """Returns True if a trap at an address is a WARN()."""
        return address in self._warnings

    def table(self, start: str, stop: str) -> tuple[int, bytes] | None:
        """Returns the start address and the bytes of the table between two symbols; None if a symbol is missing or the
        size is implausible.
        """
        self.learn(frozenset((start, stop)))
        first, last = self.find(start), self.find(stop)
        if first is None or last is None or not 0 < last - first <= _MAX_TABLE:
            return None
        return first, self.read(first, last - first)
