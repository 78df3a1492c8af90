"""What the emulator needs to know of an architecture. One file an architecture makes one `Isa`; `machines` finds it by
its name.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why

if TYPE_CHECKING:
    from tailcall_audit.analyzer.emulator.image import KernelImage
    from tailcall_audit.analyzer.emulator.machine import Machine

__all__ = ["ARCHITECTURES", "Alternatives", "Isa", "isa_of"]

ARCHITECTURES = ("x86_64", "arm64", "riscv64")
"""Those with a module of this name in this package."""


class Alternatives(NamedTuple):
    """The table of code that is patched for the processor: the symbols at its start and end, the bytes that an entry
    has had in releases, newest first, and what an entry says behind its two distances: the lengths of the code and of
    the other code, and whether a function makes the latter.
    """

    symbols: tuple[str, str]
    sizes: tuple[int, ...]
    parse: Callable[[bytes], tuple[int, int, bool]]


class Isa(NamedTuple):
    """An architecture. Registers are numbers of the emulator's; addresses are bytes.

    `arguments` are the registers of a call in their order. `prepare` sets a fresh machine up: per-CPU data, the current
    task. `call` makes the machine enter a function that returns to an address; `leave` makes the function that it
    stands at the start of return to its caller; `trap` is the length of the trap instruction that bytes begin with, 0
    for none. `heap`, `stack` and `patches` are where objects, the stack and code that the kernel writes go: `patches`
    depends on the kernel, since code must reach it. `no_operation` makes so many bytes that do nothing; `jump` is a
    jump of so many bytes from one address to another; `jump_size` is the length of the static key's code (a jump or a
    no-operation) that bytes begin with, 0 where it is neither; `moved` is code that works at another address as it does
    at its own; `returns` is the code of a function that does nothing; `alternatives` is the table of code that is
    patched for the processor; `thunks` are functions that stand for a return or an indirect jump, of which a booted
    kernel takes the one that its processor needs: all of them lead to the same place. `traced` says where in the code
    at an address the call of a tracer's trampoline goes, and that call; None if the code has no room for one.
    """

    name: str
    machine: tuple[int, int]
    cpu: int | None
    pc: int
    stack_pointer: int
    result: int
    arguments: tuple[int, ...]
    heap: int
    stack: int
    prepare: Callable[[Machine], None]
    call: Callable[[Machine, int], None]
    leave: Callable[[Machine], None]
    trap: Callable[[bytes], int]
    patches: Callable[[KernelImage], int]
    no_operation: Callable[[int], bytes]
    jump: Callable[[int, int, int], bytes]
    jump_size: Callable[[bytes], int]
    moved: Callable[[bytes, int, int], bytes]
    returns: bytes
    alternatives: Alternatives
    thunks: tuple[str, ...] = ()
    traced: Callable[[bytes, int, int], tuple[int, bytes] | None] | None = None


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
