"""What the emulator needs to know of an architecture. One file an architecture makes one `Isa`; `machines` finds it by
its name.
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
"""Those with a module of this name in this package."""
_TASK_SIZE = 1 << 16
_PATCHES = 64 << 20
"""Bytes behind the kernel's end: a branch reaches 128 MiB on arm64, auipc and jalr reach 2 GiB on riscv64."""


class Alternatives(NamedTuple):
    """The table of code that is patched for the processor: the symbols at its start and end, the bytes that an entry
    has had in releases, newest first, and what an entry says behind its two distances: the lengths of the code and of
    the other code, and whether a function makes the latter.
    """

    symbols: tuple[str, str]
    sizes: tuple[int, ...]
    parse: Callable[[bytes], tuple[int, int, bool]]


class Isa(ABC):
    """An architecture. Registers are numbers of the emulator's; addresses are bytes.

    `arguments` are the registers of a call in their order. `heap` and `stack` are where objects and the stack go.
    `returns` is the code of a function that does nothing; `alternatives` is the table of code that is patched for the
    processor; `thunks` are functions that stand for a return or an indirect jump, of which a booted kernel takes the
    one that its processor needs: all of them lead to the same place. `is_traced` says whether `traced` can answer.
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
        """Sets a fresh machine up: per-CPU data, the current task."""

    @abstractmethod
    def call(self, machine: Machine, back: int) -> None:
        """Makes the machine enter a function that returns to an address."""

    @abstractmethod
    def leave(self, machine: Machine) -> None:
        """Makes the function that the machine stands at the start of return to its caller."""

    @abstractmethod
    def trap(self, code: bytes) -> int:
        """Returns the length of the trap instruction that bytes begin with, 0 for none."""

    @abstractmethod
    def patches(self, kernel: KernelImage) -> int:
        """Returns where code goes that a kernel writes: its own code must reach it."""

    @abstractmethod
    def no_operation(self, size: int) -> bytes:
        """Returns so many bytes that do nothing."""

    @abstractmethod
    def jump(self, start: int, target: int, size: int) -> bytes:
        """Returns a jump of so many bytes from one address to another."""

    @abstractmethod
    def jump_size(self, code: bytes) -> int:
        """Returns the length of a static key's code (a jump or a no-operation) that bytes begin with, 0 where it is
        neither.
        """

    @abstractmethod
    def moved(self, code: bytes, start: int, target: int) -> bytes:
        """Returns code that works at another address as it does at its own."""

    def traced(self, code: bytes, start: int, trampoline: int) -> tuple[int, bytes] | None:
        """Returns where in the code at an address the call of a tracer's trampoline goes, and that call; None without
        room for one.
        """
        return None


class LinkRegisterIsa(Isa):
    """An architecture whose calls leave the address to return to in a register, `link`, and whose current task is in
    another, `task`.

    Its branches reach at least 128 MiB.
    """

    link: ClassVar[int]
    task: ClassVar[int]

    def prepare(self, machine: Machine) -> None:
        """Makes room for the current task."""
        machine.set_register(self.task, machine.allocate(_TASK_SIZE))

    def call(self, machine: Machine, back: int) -> None:
        """Sets the link register."""
        machine.set_register(self.link, back)

    def leave(self, machine: Machine) -> None:
        """Goes where the link register says."""
        machine.set_register(self.pc, machine.register(self.link))

    def patches(self, kernel: KernelImage) -> int:
        """Returns a place behind the kernel's end."""
        end = max(item.address + item.memory for item in kernel.segments)
        return (end + _PATCHES) & -(1 << 16)


def isa_of(architecture: str) -> Isa:
    """Returns the architecture of this name; raises EmulationError if the emulator has no machine for it, or is not
    installed.
    """
    if architecture not in ARCHITECTURES:
        raise EmulationError(Why.NO_MACHINE, architecture)
    try:
        module = import_module(f"{__package__}.{architecture}")
    except ImportError as error:
        raise EmulationError(Why.NO_EMULATOR, str(error)) from error
    found: Isa = module.ISA
    # An empty machine makes the emulator load all that it loads late: where code of an image runs, no file can be opened.
    module.Uc(*found.machine)
    return found
