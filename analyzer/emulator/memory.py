"""The memory of a machine with one kernel in it. A piece of the kernel is mapped when the code first touches it, so a
new machine for every case costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import unicorn as uc

from tailcall_audit.analyzer.emulator.calls import Budget, Patch
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.emulator.isa import Isa
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why

__all__ = ["PAGE", "PIECE", "STACK", "Memory"]

PAGE = 4096
PIECE = 1 << 16
"""The size of the pieces in which a kernel is mapped, in bytes."""
STACK = 1 << 18
_PATCHES = 1 << 21
_TRANSLATED = 8 << 20
"""Bytes for the emulator's translated code; its default is 1 GiB."""


class Memory:
    """The emulator of a machine, with its stack, its heap, and what the kernel patches in. Raises EmulationError if the
    budget of memory is used up.
    """

    def __init__(self, kernel: KernelImage, isa: Isa, budget: Budget, patches: Iterable[Patch]) -> None:
        self.kernel = kernel
        self.isa = isa
        self.budget = budget
        self._patches = tuple(patches)
        self._memory = 0
        self._mapped: set[int] = set()
        self._uc = uc.Uc(*isa.machine)
        if isa.cpu is not None:
            self._uc.ctl_set_cpu_model(isa.cpu)
        self._uc.ctl_set_tcg_buffer_size(_TRANSLATED)
        # Without this, a machine without page tables cuts addresses to the width of physical ones.
        self._uc.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
        self._heap = isa.heap
        self.map(isa.stack, STACK)
        self._return_to = isa.patches(kernel)
        self.map(self._return_to, _PATCHES)
        self._code_end = self._return_to + PAGE

    def map(self, address: int, size: int, writable: bool = True) -> None:
        """Maps memory of whole pages, executable too; raises EmulationError beyond the budget."""
        self._memory += size
        if self._memory > self.budget.memory:
            raise EmulationError(Why.MEMORY, f"more than {self.budget.memory >> 20} MiB")
        try:
            self._uc.mem_map(address, size, uc.UC_PROT_ALL if writable else uc.UC_PROT_READ | uc.UC_PROT_EXEC)
        except uc.UcError as error:
            raise EmulationError(Why.MEMORY, f"{size} bytes at {address:#x}: {error}") from error

    def allocate(self, size: int) -> int:
        """Returns the address of new zeroed memory, aligned to a page. The page after it is not mapped, so an access
        beyond the end faults.
        """
        pages = max(PAGE, (size + PAGE - 1) & -PAGE)
        found = self._heap
        self.map(found, pages)
        self._heap += pages + PAGE
        return found

    def allocate_code(self, size: int) -> int:
        """Returns an address for code that the kernel emits, near its own code."""
        found = self._code_end
        self._code_end += (size + PAGE - 1) & -PAGE
        if self._code_end > self._return_to + _PATCHES:
            raise EmulationError(Why.MEMORY, "more code than a JIT emits")
        return found

    def read(self, address: int, size: int) -> bytes:
        """Returns bytes of the machine's memory; raises EmulationError at an address that is not mapped."""
        return bytes(self._try(lambda: self._uc.mem_read(address, size), address, size))

    def write(self, address: int, data: bytes) -> None:
        """Writes bytes; raises EmulationError at an address that is not mapped."""
        self._try(lambda: self._uc.mem_write(address, data), address, len(data))

    def _try(self, access: Callable[[], bytearray | None], address: int, size: int) -> bytearray:
        for piece in range(address & -PIECE, address + size, PIECE):
            self._map_kernel(piece)
        try:
            return access() or bytearray()
        except (uc.UcError, OverflowError, ValueError) as error:
            raise EmulationError(Why.UNEXPECTED_FAULT, f"no memory at {address:#x}, {size} bytes: {error}") from error

    def word(self, address: int) -> int:
        """Returns the 64-bit number at an address."""
        return int.from_bytes(self.read(address, 8), "little")

    def _map_kernel(self, address: int) -> bool:
        """Maps the piece of the kernel around an address. Returns False if the kernel is not there, or the piece is
        mapped already.
        """
        piece = address & -PIECE
        if piece in self._mapped or not any(
            item.address < piece + PIECE and piece < item.address + item.memory for item in self.kernel.segments
        ):
            return False
        self._mapped.add(piece)
        start, end = self.kernel.text
        self.map(piece, PIECE, writable=not start <= piece <= end - PIECE)
        data = bytearray(self.kernel.read(piece, PIECE))
        for patch in self._patches:
            if piece <= patch.address < piece + PIECE:
                data[patch.address - piece : patch.address - piece + len(patch.code)] = patch.code
        self._uc.mem_write(piece, bytes(data[:PIECE]))
        self._was_mapped(piece)
        return True

    def _was_mapped(self, piece: int) -> None:
        """Is called after a piece of the kernel was mapped, by its address."""
