"""A machine with one kernel in its memory. It calls a function, lets stubs answer, and returns how the run ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import unicorn as uc

from tailcall_audit.analyzer.emulator.calls import Budget, Call, End, Patch, Run, Stub
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.emulator.isa import Isa
from tailcall_audit.analyzer.emulator.memory import PAGE, PIECE, STACK, Memory
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.emulator.watchdog import WATCHDOG

__all__ = ["Machine"]

_ACCESS = {
    uc.UC_MEM_READ_UNMAPPED: "reads",
    uc.UC_MEM_WRITE_UNMAPPED: "writes",
    uc.UC_MEM_FETCH_UNMAPPED: "jumps to",
    uc.UC_MEM_READ_PROT: "reads",
    uc.UC_MEM_WRITE_PROT: "writes",
    uc.UC_MEM_FETCH_PROT: "jumps to",
}


class Machine(Memory):
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
        super().__init__(kernel, isa, budget or Budget(), patches)
        self.executed: list[tuple[int, int]] = []
        """Start address and size in bytes of every block of code that was run; some are listed twice."""
        self.warnings: list[int] = []
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
        self._uc.hook_add(uc.UC_HOOK_MEM_UNMAPPED | uc.UC_HOOK_MEM_PROT, self._on_bad_access)
        self._uc.hook_add(uc.UC_HOOK_INSN_INVALID, self._on_invalid)
        self._uc.hook_add(uc.UC_HOOK_INTR, self._on_interrupt)
        self._uc.hook_add(uc.UC_HOOK_EDGE_GENERATED, self._on_block)
        isa.prepare(self)

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
            piece = address & -PIECE
            if piece in self._mapped or self.kernel.segment_of(address) is None:
                self._hook(address)
            else:
                self._unhooked.setdefault(piece, []).append(address)

    def _was_mapped(self, piece: int) -> None:
        for place in self._unhooked.pop(piece, ()):
            self._hook(place)

    def _is_unhooked(self, address: int) -> bool:
        return address in self._unhooked.get(address & -PIECE, ())

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
        place = self.isa.stack + STACK - PAGE
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
