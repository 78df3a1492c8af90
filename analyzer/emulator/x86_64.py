"""x86-64: System V calls, per-CPU data addressed through GS."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn import x86_const as x86

from tailcall_audit.analyzer.emulator.isa import Alternatives, Isa

if TYPE_CHECKING:
    from tailcall_audit.analyzer.emulator.image import KernelImage
    from tailcall_audit.analyzer.emulator.machine import Machine

__all__ = ["ISA", "Uc"]

_PER_CPU = 0xFFFF_8883_0000_0000
_PER_CPU_SIZE = 1 << 20
_MODULES = 0xFFFF_FFFF_C000_0000
"""The address where a booted kernel puts modules and the code that its JIT emits: within 2 GiB of its own code (Linux
Documentation/arch/x86/x86_64/mm.rst).
"""
_TRAPS = (b"\x0f\x0b", b"\x0f\xb9")
"""ud2 and ud1, with which the kernel marks BUG() and WARN()."""
_NOP5 = b"\x0f\x1f\x44\x00\x00"
_REGISTERS = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{number}" for number in range(8, 16)))


def _alternative(entry: bytes) -> tuple[int, int, bool]:
    """Parses struct alt_instr; before v5.18 it ends with the length of the padding."""
    size, length = (entry[-3], entry[-2]) if len(entry) == 13 else (entry[-2], entry[-1])
    return size, length, False


class X64(Isa):
    """x86-64: calls push the return address, arguments are in registers, per-CPU data is addressed through GS."""

    name = "x86_64"
    machine = (UC_ARCH_X86, UC_MODE_64)
    pc = x86.UC_X86_REG_RIP
    stack_pointer = x86.UC_X86_REG_RSP
    result = x86.UC_X86_REG_RAX
    arguments = (
        x86.UC_X86_REG_RDI,
        x86.UC_X86_REG_RSI,
        x86.UC_X86_REG_RDX,
        x86.UC_X86_REG_RCX,
        x86.UC_X86_REG_R8,
        x86.UC_X86_REG_R9,
    )
    heap = 0xFFFF_8881_0000_0000
    stack = 0xFFFF_C900_0000_0000
    returns = b"\xc3"
    is_traced = True
    alternatives = Alternatives(("__alt_instructions", "__alt_instructions_end"), (14, 12, 13), _alternative)
    thunks = ("__x86_return_thunk", *(f"__x86_indirect_thunk_{name}" for name in _REGISTERS))

    def prepare(self, machine: Machine) -> None:
        """Sets up per-CPU data: until about 6.14 it is linked at 0 and addressed relative to GS; since then it is at
        its own address, with GS at 0.
        """
        first = next((item for item in machine.kernel.binary.segments if item.address == 0), None)
        base = 0
        if first is not None:
            base = _PER_CPU
            machine.map(base, _PER_CPU_SIZE)
            machine.write(base, machine.kernel.read(0, min(first.memory, _PER_CPU_SIZE)))
        machine.set_register(x86.UC_X86_REG_GS_BASE, base)

    def call(self, machine: Machine, back: int) -> None:
        """Pushes the return address."""
        place = machine.register(x86.UC_X86_REG_RSP) - 8
        machine.write(place, struct.pack("<Q", back))
        machine.set_register(x86.UC_X86_REG_RSP, place)

    def leave(self, machine: Machine) -> None:
        """Pops the return address and jumps to it."""
        place = machine.register(x86.UC_X86_REG_RSP)
        (back,) = struct.unpack("<Q", machine.read(place, 8))
        machine.set_register(x86.UC_X86_REG_RSP, place + 8)
        machine.set_register(x86.UC_X86_REG_RIP, back)

    def trap(self, code: bytes) -> int:
        """Returns the length of ud2 or ud1; 0 for any other instruction."""
        if not code.startswith(_TRAPS):
            return 0
        # ud1 has a ModRM byte; the kernel uses only the forms of three and four bytes.
        return 2 if code.startswith(_TRAPS[0]) else 4 if code[2] & 0xC7 == 0x44 else 3

    def patches(self, kernel: KernelImage) -> int:
        """Returns the address of modules."""
        return _MODULES

    def no_operation(self, size: int) -> bytes:
        """Returns bytes of one-byte no-operations."""
        return b"\x90" * size

    def jump(self, start: int, target: int, size: int) -> bytes:
        """Returns a jump of two bytes, or of five."""
        if size == 2:
            return b"\xeb" + struct.pack("<b", target - start - 2)
        return b"\xe9" + struct.pack("<i", target - start - 5) + b"\x90" * (size - 5)

    def jump_size(self, code: bytes) -> int:
        """Returns 2 or 5, the sizes that the kernel uses; 0 for any other instruction."""
        if code.startswith((b"\xeb", b"\x66\x90")):
            return 2
        return 5 if code.startswith((b"\xe9", _NOP5, b"\x3e\x8d\x74\x26\x00")) else 0

    def moved(self, code: bytes, start: int, target: int) -> bytes:
        """Adjusts a relative call or jump at the start of the replacement. The kernel adjusts nothing else before v6.7
        (apply_relocation()).
        """
        if len(code) >= 5 and code[0] in (0xE8, 0xE9):
            (distance,) = struct.unpack_from("<i", code, 1)
            return code[:1] + struct.pack("<i", distance + start - target) + code[5:]
        return code

    def traced(self, code: bytes, start: int, trampoline: int) -> tuple[int, bytes] | None:
        """Returns a call in place of the first no-operation of five bytes, which is at the start or after endbr64."""
        place = code.find(_NOP5, 0, 16)
        if place < 0:
            return None
        return place, b"\xe8" + struct.pack("<i", trampoline - start - place - 5)


ISA = X64()
