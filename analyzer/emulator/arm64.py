"""arm64: AAPCS64 calls, the current task in SP_EL0, per-CPU data addressed through TPIDR_EL1."""

from __future__ import annotations

import struct

from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, Uc
from unicorn import arm64_const as arm

from tailcall_audit.analyzer.emulator.isa import Alternatives, LinkRegisterIsa

__all__ = ["ISA", "Uc"]

_NOP = struct.pack("<I", 0xD503201F)
_CALLBACK = 1 << 15
"""ARM64_CB_BIT: a function makes the replacement code."""


def _alternative(entry: bytes) -> tuple[int, int, bool]:
    """Parses struct alt_instr."""
    size, length = entry[-2], entry[-1]
    (feature,) = struct.unpack_from("<H", entry, 8)
    return size, length, feature & _CALLBACK != 0 or length == 0


class Arm64(LinkRegisterIsa):
    """arm64: branches of four bytes, the current task in SP_EL0.

    With TPIDR_EL1 at 0, per-CPU data is at its own address, where the kernel image has the initial values.
    """

    name = "arm64"
    machine = (UC_ARCH_ARM64, UC_MODE_ARM)
    cpu = arm.UC_CPU_ARM64_MAX
    pc = arm.UC_ARM64_REG_PC
    stack_pointer = arm.UC_ARM64_REG_SP
    result = arm.UC_ARM64_REG_X0
    arguments = tuple(arm.UC_ARM64_REG_X0 + number for number in range(8))
    heap = 0xFFFF_0001_0000_0000
    stack = 0xFFFF_0003_0000_0000
    returns = struct.pack("<I", 0xD65F03C0)
    alternatives = Alternatives(("__alt_instructions", "__alt_instructions_end"), (12,), _alternative)
    link, task = arm.UC_ARM64_REG_LR, arm.UC_ARM64_REG_SP_EL0

    def trap(self, code: bytes) -> int:
        """Returns the length of a breakpoint instruction (BRK with any number); 0 for any other instruction."""
        # The mask ignores the number of the BRK.
        return 4 if len(code) >= 4 and struct.unpack_from("<I", code)[0] & 0xFFE0001F == 0xD4200000 else 0

    def no_operation(self, size: int) -> bytes:
        """Returns no-operations of four bytes."""
        return _NOP * (size // 4)

    def jump(self, start: int, target: int, size: int) -> bytes:
        """Returns a branch, followed by no-operations."""
        return struct.pack("<I", 0x14000000 | ((target - start) >> 2) & 0x03FFFFFF) + self.no_operation(size - 4)

    def jump_size(self, code: bytes) -> int:
        """Returns 4 for a jump or a no-operation, else 0."""
        return 4 if code[:4] == _NOP or struct.unpack_from("<I", code)[0] >> 26 == 0b000101 else 0

    def moved(self, code: bytes, start: int, target: int) -> bytes:
        """Adjusts the instructions that the kernel adjusts: branches with an immediate that lead out of the replacement
        (get_alt_insn()).
        """
        out = b""
        for place in range(0, len(code), 4):
            (word,) = struct.unpack_from("<I", code, place)
            if word >> 26 in (0b000101, 0b100101):
                distance = (word & 0x03FFFFFF ^ 0x02000000) - 0x02000000
                goal = start + place + 4 * distance
                if not start <= goal < start + len(code):
                    word = word & 0xFC000000 | (goal - target - place) >> 2 & 0x03FFFFFF
            out += struct.pack("<I", word)
        return out


ISA = Arm64()
