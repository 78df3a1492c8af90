"""riscv64: calls of the RISC-V psABI, the current task in tp, per-CPU data at its own address."""

from __future__ import annotations

import struct

from unicorn import UC_ARCH_RISCV, UC_MODE_RISCV64, Uc
from unicorn import riscv_const as riscv

from tailcall_audit.analyzer.emulator.isa import Alternatives, LinkRegisterIsa

__all__ = ["ISA", "Uc"]

_NOP, _NOP_SHORT = struct.pack("<I", 0x13), struct.pack("<H", 1)
_JAL, _AUIPC, _JALR = 0x6F, 0x17, 0x67


def _with_distance(word: int, distance: int) -> int:
    """Returns a jal with another distance (The RISC-V Instruction Set Manual, "J-type")."""
    low, high = distance & 0x7FE, distance >> 20 & 1
    return word & 0xFFF | high << 31 | low << 20 | (distance >> 11 & 1) << 20 | distance & 0xFF000


def _distance(word: int) -> int:
    """Returns the distance of a jal, in bytes."""
    found = (word >> 21 & 0x3FF) << 1 | (word >> 20 & 1) << 11 | word & 0xFF000 | (word >> 31) << 20
    return (found ^ 1 << 20) - (1 << 20)


def _alternative(entry: bytes) -> tuple[int, int, bool]:
    """Parses struct alt_entry: two distances, the vendor, the length of the original and of the replacement, the
    feature.
    """
    (length,) = struct.unpack_from("<H", entry, 10)
    return length, length, False


class Riscv64(LinkRegisterIsa):
    """riscv64: branches of four bytes, no-operations of two or four, the current task in tp.

    The kernel's table of per-CPU offsets holds 0 in the image, so per-CPU data is at its own address.
    """

    name = "riscv64"
    machine = (UC_ARCH_RISCV, UC_MODE_RISCV64)
    pc = riscv.UC_RISCV_REG_PC
    stack_pointer = riscv.UC_RISCV_REG_SP
    result = riscv.UC_RISCV_REG_A0
    arguments = tuple(riscv.UC_RISCV_REG_A0 + number for number in range(8))
    heap = 0xFFFF_FFD8_0000_0000
    stack = 0xFFFF_FFC8_0000_0000
    returns = struct.pack("<H", 0x8082)
    alternatives = Alternatives(("__alt_start", "__alt_end"), (16,), _alternative)
    link, task = riscv.UC_RISCV_REG_RA, riscv.UC_RISCV_REG_TP

    def trap(self, code: bytes) -> int:
        """Returns the length of a breakpoint instruction (ebreak or c.ebreak); 0 for any other instruction."""
        if code[:2] == b"\x02\x90":
            return 2  # c.ebreak
        return 4 if code[:4] == b"\x73\x00\x10\x00" else 0  # ebreak

    def no_operation(self, size: int) -> bytes:
        """Returns no-operations of four bytes, and one of two if needed."""
        return _NOP * (size // 4) + _NOP_SHORT * (size % 4 // 2)

    def jump(self, start: int, target: int, size: int) -> bytes:
        """Returns a branch, followed by no-operations."""
        return struct.pack("<I", _with_distance(_JAL, target - start)) + self.no_operation(size - 4)

    def jump_size(self, code: bytes) -> int:
        """Returns 4 for a jump or a no-operation, else 0."""
        return 4 if code[:4] == _NOP or struct.unpack_from("<I", code)[0] & 0xFFF == _JAL else 0

    def moved(self, code: bytes, start: int, target: int) -> bytes:
        """Adjusts the instructions that the kernel adjusts: jal that leads out of the replacement, and auipc followed
        by jalr (riscv_alternative_fix_offsets()).
        """
        out = bytearray(code)
        place = 0
        while place + 4 <= len(code):
            (word,) = struct.unpack_from("<I", code, place)
            if word & 0x7F == _JAL and not start <= start + place + _distance(word) < start + len(code):
                struct.pack_into("<I", out, place, _with_distance(word, _distance(word) + start - target))
            elif word & 0x7F == _AUIPC and place + 8 <= len(code):
                (second,) = struct.unpack_from("<I", code, place + 4)
                if second & 0x707F == _JALR and second >> 15 & 31 == word >> 7 & 31:
                    far = (word & 0xFFFFF000) + ((second >> 20 ^ 0x800) - 0x800) + start - target
                    struct.pack_into("<I", out, place, word & 0xFFF | (far + 0x800) & 0xFFFFF000)
                    struct.pack_into("<I", out, place + 4, second & 0xFFFFF | (far & 0xFFF) << 20)
            # An instruction has four bytes if its lowest two bits are 11, else two.
            place += 4 if word & 3 == 3 else 2
        return bytes(out)


ISA = Riscv64()
