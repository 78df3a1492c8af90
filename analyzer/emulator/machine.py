"""A machine with one kernel in its memory. It calls a function, lets stubs answer calls, and returns how the run ended.

A piece of the kernel is mapped when the code first touches it, so a new machine for every case costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import unicorn as uc

from tailcall_audit.analyzer.emulator.calls import Budget, Call, End, Patch, Run, Stub
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.emulator.isa import Isa
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.emulator.watchdog import WATCHDOG

__all__ = ["Machine"]

_PAGE = 4096
_PIECE = 1 << 16
_STACK = 1 << 18
_PATCHES = 1 << 21
_TRANSLATED = 8 << 20
"""Bytes for the emulator's translated code; its default is 1 GiB."""
_ACCESS = {
    uc.UC_MEM_READ_UNMAPPED: "reads",
    uc.UC_MEM_WRITE_UNMAPPED: "writes",
    uc.UC_MEM_FETCH_UNMAPPED: "jumps to",
    uc.UC_MEM_READ_PROT: "reads",
    uc.UC_MEM_WRITE_PROT: "writes",
    uc.UC_MEM_FETCH_PROT: "jumps to",
}


class Machine:
    """A machine that is used for one case and then discarded. Raises EmulationError if a budget is used up or the
    kernel lacks something.
    """

    def __init__(
        self,
        kernel: KernelImage,
        isa: Isa,
        budget: Budget | None = None,
        patches: Iterable[Patch] = (),
    ) -> None:
        self.kernel = kernel
        self.isa = isa
        self.budget = budget or Budget()
        self.executed: list[tuple[int, int]] = []
        """Start address and size in bytes of every block of code that was run; some are listed twice."""
        self.warnings: list[int] = []
        self._patches = tuple(patches)
        self._memory = 0
        self._mapped: set[int] = set()
        self._fault: tuple[int, int] | None = None
        self._trapped = False
        self._stop: str | None = None
        self._error: BaseException | None = None
        self._answered: dict[int, tuple[str, Stub]] = {}
        self._resumes_at: int | None = None
        self._unhooked: dict[int, list[int]] = {}
        """Addresses that stubs answer in pieces of the kernel that are not mapped yet, by piece. Their hooks are added
        when the piece is mapped: a hook costs more than most calls.
        """
        self._entered: set[int] = set()
        self._uc = uc.Uc(*isa.machine)
        if isa.cpu is not None:
            self._uc.ctl_set_cpu_model(isa.cpu)
        self._uc.ctl_set_tcg_buffer_size(_TRANSLATED)
        # Without this, a machine without page tables cuts addresses to the width of physical ones.
        self._uc.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
        self._heap = isa.heap
        self._code_end = isa.patches(kernel)
        self.map(isa.stack, _STACK)
        self._return_to = self._code_end
        self.map(self._code_end, _PATCHES)
        self._code_end += _PAGE
        self._uc.hook_add(uc.UC_HOOK_MEM_UNMAPPED | uc.UC_HOOK_MEM_PROT, self._on_bad_access)
        self._uc.hook_add(uc.UC_HOOK_INSN_INVALID, self._on_invalid)
        self._uc.hook_add(uc.UC_HOOK_INTR, self._on_interrupt)
        self._uc.hook_add(uc.UC_HOOK_EDGE_GENERATED, self._on_block)
        isa.prepare(self)

    # Memory

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
        pages = max(_PAGE, (size + _PAGE - 1) & -_PAGE)
        found = self._heap
        self.map(found, pages)
        self._heap += pages + _PAGE
        return found

    def allocate_code(self, size: int) -> int:
        """Returns an address for code that the kernel emits, near its own code."""
        found = self._code_end
        self._code_end += (size + _PAGE - 1) & -_PAGE
        if self._code_end > self.isa.patches(self.kernel) + _PATCHES:
            raise EmulationError(Why.MEMORY, "more code than a JIT emits")
        return found

    def read(self, address: int, size: int) -> bytes:
        """Returns bytes of the machine's memory; raises EmulationError at an address that is not mapped."""
        return bytes(self._try(lambda: self._uc.mem_read(address, size), address, size))

    def write(self, address: int, data: bytes) -> None:
        """Writes bytes; raises EmulationError at an address that is not mapped."""
        self._try(lambda: self._uc.mem_write(address, data), address, len(data))

    def _try(self, access: Callable[[], bytearray | None], address: int, size: int) -> bytearray:
        for piece in range(address & -_PIECE, address + size, _PIECE):
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
        piece = address & -_PIECE
        if piece in self._mapped or not any(
            item.address < piece + _PIECE and piece < item.address + item.memory for item in self.kernel.segments
        ):
            return False
        self._mapped.add(piece)
        start, end = self.kernel.text
        self.map(piece, _PIECE, writable=not start <= piece <= end - _PIECE)
        data = bytearray(self.kernel.read(piece, _PIECE))
        for patch in self._patches:
            if piece <= patch.address < piece + _PIECE:
                data[patch.address - piece : patch.address - piece + len(patch.code)] = patch.code
        self._uc.mem_write(piece, bytes(data[:_PIECE]))
        for place in self._unhooked.pop(piece, ()):
            self._hook(place)
        return True

    # Registers

    def register(self, number: int) -> int:
        """Returns a register's value."""
        found: int = self._uc.reg_read(number)
        return found

    def set_register(self, number: int, value: int) -> None:
        """Sets a register."""
        self._uc.reg_write(number, value)

    # Hooks

    def _on_bad_access(self, _: uc.Uc, access: int, address: int, size: int, value: int, data: object) -> bool:
        del size, value, data
        try:
            if access == uc.UC_MEM_FETCH_UNMAPPED and self._is_unhooked(address):
                # This block is being translated: a hook on its first instruction would take effect too late.
                self._map_kernel(address)
                self._resumes_at = address
                return False
            if self._map_kernel(address) or self._map_kernel(address + 15):
                return True
        except EmulationError as error:
            self._error = error
            return False
        self._fault = (access, address & 0xFFFF_FFFF_FFFF_FFFF)
        return False

    def _on_invalid(self, _: uc.Uc, data: object) -> bool:
        del data
        return self._take_trap(self.register(self.isa.pc))

    def _on_interrupt(self, _: uc.Uc, number: int, data: object) -> None:
        del number, data
        if not self._take_trap(self.register(self.isa.pc)):
            self._uc.emu_stop()

    def _take_trap(self, pc: int) -> bool:
        """Continues after a WARN(), as the kernel does, and returns True; every other trap ends the run."""
        length = self.isa.trap(self.read(pc, 4))
        if length and self.kernel.is_warning(pc):
            self.warnings.append(pc)
            self.set_register(self.isa.pc, pc + length)
            return True
        self._trapped = True
        return False

    def _on_entry(self, _: uc.Uc, address: int, size: int, data: object) -> None:
        del data
        self.executed.append((address, size))

    def _on_block(self, _: uc.Uc, block: uc.unicorn_py3.unicorn.uc_tb, before: object, data: object) -> None:
        del before, data
        if block.pc not in self._answered and block.size:
            self.executed.append((block.pc, block.size))

    def answer(self, stubs: Mapping[int, tuple[str, Stub]]) -> None:
        """Lets stubs answer calls of the functions at these addresses."""
        self._answered |= stubs
        for address in stubs:
            piece = address & -_PIECE
            if piece in self._mapped or self.kernel.segment_of(address) is None:
                self._hook(address)
            else:
                self._unhooked.setdefault(piece, []).append(address)

    def _is_unhooked(self, address: int) -> bool:
        return address in self._unhooked.get(address & -_PIECE, ())

    def _hook(self, address: int) -> None:
        self._uc.hook_add(uc.UC_HOOK_CODE, self._on_call, self._answered[address], address, address)

    def _on_call(self, _: uc.Uc, address: int, size: int, data: tuple[str, Stub]) -> None:
        del address, size
        name, stub = data
        try:
            value = stub(Call(self, name))
            if self._stop is None:
                if value is not None:
                    self.set_register(self.isa.result, value & 0xFFFF_FFFF_FFFF_FFFF)
                self.isa.leave(self)
        except Exception as error:  # an exception must not cross the emulator's C code
            self._error = error
            self._uc.emu_stop()

    def watch(self, address: int, see: Callable[[], None]) -> None:
        """Calls a function each time the code at an address is run."""

        def hook(*_: object) -> None:
            try:
                see()
            except Exception as error:  # an exception must not cross the emulator's C code
                self._error = error
                self._uc.emu_stop()

        self._uc.hook_add(uc.UC_HOOK_CODE, hook, None, address, address)

    def watch_writes(self, address: int, size: int, see: Callable[[int, int, int], None]) -> None:
        """Calls a function with address, size and value of each write to a range of memory."""

        def hook(_: uc.Uc, access: int, where: int, length: int, value: int, data: object) -> None:
            del access, data
            try:
                see(where, length, value)
            except Exception as error:  # an exception must not cross the emulator's C code
                self._error = error
                self._uc.emu_stop()

        self._uc.hook_add(uc.UC_HOOK_MEM_WRITE, hook, None, address, address + size - 1)

    def stop(self, reason: str) -> None:
        """Ends the run from a stub or a watch."""
        self._stop = reason
        self._uc.emu_stop()

    def close(self) -> None:
        """Frees the machine's memory. Only `executed` and `warnings` can be used afterwards."""
        self._uc = None

    # Calls

    def call(self, address: int, *arguments: int) -> Run:
        """Calls a function; arguments that do not fit in registers go onto the stack. Raises EmulationError if a budget
        is used up.
        """
        self._fault, self._trapped, self._stop, self._error = None, False, None, None
        self._enter(address, arguments)
        WATCHDOG.start(self._uc, self.budget.seconds)
        try:
            failure = self._run(address)
        finally:
            late = WATCHDOG.stop()
        return self._ended(failure, late)

    def _run(self, address: int) -> uc.UcError | None:
        """Runs to the end. The run is interrupted and resumed once for each piece of the kernel that is mapped because
        a stub in it is called.
        """
        start: int | None = address
        failure = None
        while start is not None:
            self._resumes_at, failure = None, None
            try:
                self._uc.emu_start(start, self._return_to, count=self.budget.instructions)
            except uc.UcError as error:
                failure = error
            start = self._resumes_at
        return failure

    def _enter(self, address: int, arguments: tuple[int, ...]) -> None:
        self._map_kernel(address)
        if address not in self._entered:
            # The first block of a run has no block before it, so the hook on edges does not see it.
            self._entered.add(address)
            self._uc.hook_add(uc.UC_HOOK_BLOCK, self._on_entry, None, address, address)
        registers = self.isa.arguments
        rest = arguments[len(registers) :]
        place = self.isa.stack + _STACK - _PAGE
        self.write(place, b"".join((value & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "little") for value in rest) or b"\0")
        self.set_register(self.isa.stack_pointer, place)
        for register, value in zip(registers, arguments, strict=False):
            self.set_register(register, value & 0xFFFF_FFFF_FFFF_FFFF)
        self.isa.call(self, self._return_to)

    def _ended(self, failure: uc.UcError | None, late: bool) -> Run:
        if self._error is not None:
            raise self._error
        pc = self.register(self.isa.pc)
        function = self.kernel.name_at(pc)
        if self._stop is not None:
            return Run(End.STOPPED, reason=self._stop, pc=pc, function=function)
        if self._fault is not None and failure is not None:
            access, touched = self._fault
            return Run(End.FAULT, touched=touched, access=_ACCESS.get(access, "touches"), pc=pc, function=function)
        if self._trapped:
            return Run(End.TRAP, pc=pc, function=function)
        if failure is not None:
            raise EmulationError(Why.UNEXPECTED_FAULT, f"{failure} in {function or 'code'} at {pc:#x}")
        if pc == self._return_to:
            return Run(End.RETURNED, value=self.register(self.isa.result), pc=pc)
        where = f"in {function or 'code'} at {pc:#x}"
        if late:
            raise EmulationError(Why.TIME, f"{self.budget.seconds:g} s, {where}")
        raise EmulationError(Why.INSTRUCTIONS, f"{self.budget.instructions:,}, {where}")
