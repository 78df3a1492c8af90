"""What the emulator needs to know about an architecture. Each architecture has one module with one `Isa`; `isa_of`
finds it by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why

if TYPE_CHECKING:
    from tailcall_audit.analyzer.emulator.image import KernelImage
    from tailcall_audit.analyzer.emulator.machine import Machine

__all__ = ["ARCHITECTURES", "Alternatives", "Isa", "LinkRegisterIsa", "isa_of"]

ARCHITECTURES = ("x86_64", "arm64", "riscv64")
"""Each has a module of this name in this package."""
_TASK_SIZE = 1 << 16
_PATCHES = 64 << 20
"""Distance in bytes from the kernel's end: a branch reaches 128 MiB on arm64, auipc and jalr reach 2 GiB on riscv64."""


class Alternatives(NamedTuple):
    """The table of code that is patched for the processor. `symbols` are at its start and end. `sizes` are the sizes of
    an entry in bytes over the releases, newest first. `parse` reads an entry and returns the length of the original
    code, the length of the replacement, and True if a function makes the replacement.
    """

    symbols: tuple[str, str]
    sizes: tuple[int, ...]
    parse: Callable[[bytes], tuple[int, int, bool]]


class Isa(ABC):
    """An architecture. Registers are the emulator's numbers; addresses are in bytes.

    `arguments` are the registers of a call's arguments, in order. `heap` and `stack` are the addresses for objects and
    for the stack. `returns` is the code of a function that does nothing. `alternatives` is the table of code that is
    patched for the processor. `thunks` are functions that replace a return or an indirect jump. A booted kernel uses
    the one that its processor needs; all have the same effect. `is_traced` is True if `traced` is implemented.
    """

    name: ClassVar[str]
    machine: ClassVar[tuple[int, int]]
    cpu: ClassVar[int | None] = None
    pc: ClassVar[int]
    stack_pointer: ClassVar[int]
    result: ClassVar[int]
    arguments: ClassVar[tuple[int, ...]]
    heap: ClassVar[int]
    stack: ClassVar[int]
    returns: ClassVar[bytes]
    alternatives: ClassVar[Alternatives]
    thunks: ClassVar[tuple[str, ...]] = ()
    is_traced: ClassVar[bool] = False

    @abstractmethod
    def prepare(self, machine: Machine) -> None:
        """Sets up a new machine: per-CPU data and the current task."""

    @abstractmethod
    def call(self, machine: Machine, back: int) -> None:
        """Sets the return address `back` of the call that the machine is about to make."""

    @abstractmethod
    def leave(self, machine: Machine) -> None:
        """Returns from the function at whose start the machine has stopped."""

    @abstractmethod
    def trap(self, code: bytes) -> int:
        """Returns the length of the trap instruction at the start of `code`; 0 if there is none."""

    @abstractmethod
    def patches(self, kernel: KernelImage) -> int:
        """Returns the address for code that a kernel emits. The kernel's own branches must reach it."""

    @abstractmethod
    def no_operation(self, size: int) -> bytes:
        """Returns `size` bytes of instructions that do nothing."""

    @abstractmethod
    def jump(self, start: int, target: int, size: int) -> bytes:
        """Returns a jump of `size` bytes from one address to another."""

    @abstractmethod
    def jump_size(self, code: bytes) -> int:
        """Returns the length of the static key's code (a jump or a no-operation) at the start of `code`; 0 if it is
        neither.
        """

    @abstractmethod
    def moved(self, code: bytes, start: int, target: int) -> bytes:
        """Returns code from address `start` adjusted so that it does the same at address `target`."""

    def traced(self, code: bytes, start: int, trampoline: int) -> tuple[int, bytes] | None:
        """Returns the offset in `code` where the call of a tracer's trampoline goes, and the bytes of that call; None
        if there is no room for one.
        """
        return None


class LinkRegisterIsa(Isa):
    """An architecture that keeps the return address in a register, `link`, and the current task in another, `task`.

    Its branches reach at least 128 MiB.
    """

    link: ClassVar[int]
    task: ClassVar[int]

    def prepare(self, machine: Machine) -> None:
        """Allocates memory for the current task."""
        machine.set_register(self.task, machine.allocate(_TASK_SIZE))

    def call(self, machine: Machine, back: int) -> None:
        """Sets the link register."""
        machine.set_register(self.link, back)

    def leave(self, machine: Machine) -> None:
        """Jumps to the address in the link register."""
        machine.set_register(self.pc, machine.register(self.link))

    def patches(self, kernel: KernelImage) -> int:
        """Returns an address after the kernel's end."""
        end = max(item.address + item.memory for item in kernel.segments)
        return (end + _PATCHES) & -(1 << 16)


def isa_of(architecture: str) -> Isa:
    """Returns the architecture of this name. Raises EmulationError if the emulator has no machine for it or is not
    installed.
    """
    if architecture not in ARCHITECTURES:
        raise EmulationError(Why.NO_MACHINE, architecture)
    try:
        module = import_module(f"{__package__}.{architecture}")
    except ImportError as error:
        raise EmulationError(Why.NO_EMULATOR, str(error)) from error
    found: Isa = module.ISA
    # An empty machine makes the emulator load its libraries now: the process that runs an image can open no file.
    module.Uc(*found.machine)
    return found
