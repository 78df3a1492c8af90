"""The places in a kernel's code that the kernel patches when it boots or runs: static keys, alternatives, static calls.

An image holds each of them in its first state. The state in a booted kernel depends on its processor, its options and
its use, so each case is run with both states of every site on its path.

The tables are those of Linux include/linux/jump_label.h, arch/*/include/asm/alternative.h and
include/linux/static_call_types.h. Each entry has 32-bit distances from its own fields.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from tailcall_audit.analyzer.emulator.calls import Patch
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.emulator.isa import Isa
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.emulator.stubs import TRACER_ENTRIES

__all__ = ["TABLES", "Sites"]

_JUMPS = ("__start___jump_table", "__stop___jump_table")
_CALLS = ("__start_static_call_sites", "__stop_static_call_sites")
TABLES = frozenset(
    (
        "_stext",
        "_etext",
        *_JUMPS,
        "__alt_instructions",
        "__alt_instructions_end",
        "__alt_start",
        "__alt_end",
        *_CALLS,
        "__start___bug_table",
        "__stop___bug_table",
        "alt_cb_patch_nops",
    )
)
"""Symbols that mark the tables."""

_JUMP_ENTRY = 16
_STATIC_CALL_ENTRY = 8


class _Alternative(NamedTuple):
    """A patched place, its length, and the address and length of its replacement."""

    address: int
    size: int
    replacement: int
    length: int
    callback: bool


class Sites:
    """All patched places of a kernel, by address."""

    def __init__(self, kernel: KernelImage, isa: Isa) -> None:
        self._kernel = kernel
        self._isa = isa
        self._found: dict[tuple[int, int], tuple[Patch, ...]] = {}

    @cached_property
    def _jumps(self) -> list[tuple[int, int]]:
        """Address and target of each static key's jump, in ascending order of address."""
        table = self._kernel.table(*_JUMPS)
        if table is None:
            return []
        start, data = table
        return sorted(
            (start + place + code, start + place + 4 + target)
            for place in range(0, len(data) - _JUMP_ENTRY + 1, _JUMP_ENTRY)
            for code, target in (struct.unpack_from("<ii", data, place),)
        )

    @cached_property
    def _alternatives(self) -> list[_Alternative]:
        table = self._kernel.table(*self._isa.alternatives.symbols)
        if table is None:
            return []
        start, data = table
        for size in self._isa.alternatives.sizes:
            found = [
                self._alternative(start + place, data[place : place + size])
                for place in range(0, len(data) - size + 1, size)
            ]
            if len(data) % size == 0 and all(self._is_code(item) for item in found[:256]):
                return sorted(found)
        return []

    def _is_code(self, item: _Alternative) -> bool:
        return item.size > 0 and item.length <= item.size and self._kernel.segment_of(item.address) is not None

    def _alternative(self, place: int, entry: bytes) -> _Alternative:
        old, new = struct.unpack_from("<ii", entry)
        size, length, callback = self._isa.alternatives.parse(entry)
        return _Alternative(place + old, size, place + 4 + new, length, callback)

    @cached_property
    def _static_calls(self) -> list[int]:
        table = self._kernel.table(*_CALLS)
        if table is None:
            return []
        start, data = table
        return sorted(
            start + place + struct.unpack_from("<i", data, place)[0]
            for place in range(0, len(data) - _STATIC_CALL_ENTRY + 1, _STATIC_CALL_ENTRY)
        )

    @property
    def are_known(self) -> bool:
        """Returns True if the tables were found. Every kernel has alternatives, but they cannot be found without data
        symbols (Debian's arm64 kernels before 6.6).
        """
        return bool(self._alternatives)

    def on_path(self, blocks: Iterable[tuple[int, int]]) -> Iterator[Patch]:
        """Yields the other state of every site inside blocks of code (start and size in bytes). Raises EmulationError
        if the other state of a site is not known.
        """
        # Tracer entries are left out: a machine returns from them at once, whatever is patched there.
        for start, size in blocks:
            first = bisect_left(self._places, start)
            if first < len(self._places) and self._places[first] < start + size and start not in self._left_out:
                if (start, size) not in self._found:
                    self._found[start, size] = tuple(self._within(start, start + size))
                yield from self._found[start, size]

    @cached_property
    def _places(self) -> list[int]:
        """The addresses of all sites in ascending order: most blocks of code have none."""
        return sorted(
            {*(address for address, _ in self._jumps), *(item.address for item in self._alternatives)}.union(
                self._static_calls
            )
        )

    @cached_property
    def _left_out(self) -> frozenset[int]:
        names = TRACER_ENTRIES.union(self._isa.thunks)
        self._kernel.learn(names)
        return frozenset(address for name in names for address in self._kernel.all_of(name))

    def _within(self, start: int, end: int) -> Iterator[Patch]:
        for address, target in self._jumps[bisect_left(self._jumps, (start,)) : bisect_left(self._jumps, (end,))]:
            yield self._jump(address, target)
        alternatives = self._alternatives
        for item in alternatives[_first(alternatives, start) : _first(alternatives, end)]:
            yield self._replace(item)
        index = bisect_left(self._static_calls, start)
        for address in self._static_calls[index : bisect_left(self._static_calls, end)]:
            yield Patch(address, self._isa.no_operation(5), f"static call at {address:#x}")

    def _jump(self, address: int, target: int) -> Patch:
        code = self._kernel.read(address, 5)
        size = self._isa.jump_size(code)
        if size == 0:
            raise EmulationError(Why.UNPATCHABLE, f"neither a jump nor a no-operation at {address:#x}: {code.hex()}")
        on = self._isa.jump(address, target, size)
        off = self._isa.no_operation(size)
        return Patch(address, off if code[:size] == on else on, f"static key at {address:#x}")

    def _replace(self, item: _Alternative) -> Patch:
        why = f"alternative at {item.address:#x}"
        if item.callback:
            if item.replacement not in self._kernel.all_of("alt_cb_patch_nops"):
                name = self._kernel.name_at(item.replacement)
                raise EmulationError(Why.UNPATCHABLE, f"{why}: {name or 'code'} makes it")
            return Patch(item.address, self._isa.no_operation(item.size), why)
        new = self._kernel.read(item.replacement, item.length)
        new = self._isa.moved(new, item.replacement, item.address)
        return Patch(item.address, new + self._isa.no_operation(item.size - item.length), why)


def _first(rows: list[_Alternative], address: int) -> int:
    return bisect_left(rows, address, key=lambda item: item.address)
