"""Assembles the few x86-64 instructions that mutations insert."""

from __future__ import annotations

__all__ = ["jump_if_zero", "load32", "load64", "nops", "test64"]

_NUMBERS = {
    name: number
    for number, names in enumerate(
        (
            "rax eax", "rcx ecx", "rdx edx", "rbx ebx", "rsp esp", "rbp ebp", "rsi esi", "rdi edi",
            *(f"r{number} r{number}d" for number in range(8, 16)),
        )
    )
    for name in names.split()
}  # fmt: skip
_STACK_POINTER = 4


def _load(prefix: int, target: str, base: str, displacement: int) -> bytes:
    to, at = _NUMBERS[target], _NUMBERS[base]
    prefix |= (to >> 3) << 2 | at >> 3
    short = -128 <= displacement < 128
    # rsp and r12 as a base need a SIB byte.
    sib = b"\x24" if at & 7 == _STACK_POINTER else b""
    where = displacement.to_bytes(1 if short else 4, "little", signed=True)
    code = bytes((0x8B, (0x40 if short else 0x80) | (to & 7) << 3 | at & 7)) + sib + where
    return bytes((prefix,)) + code if prefix != 0x40 else code


def load64(target: str, base: str, displacement: int) -> bytes:
    """Returns ``mov target, qword ptr [base + displacement]``."""
    return _load(0x48, target, base, displacement)


def load32(target: str, base: str, displacement: int) -> bytes:
    """Returns ``mov target, dword ptr [base + displacement]``."""
    return _load(0x40, target, base, displacement)


def test64(register: str) -> bytes:
    """Returns ``test register, register`` for all 64 bits."""
    number = _NUMBERS[register]
    return bytes((0x48 | (number >> 3) * 5, 0x85, 0xC0 | (number & 7) * 9))


def jump_if_zero(over: int) -> bytes:
    """Returns a ``je`` over some bytes."""
    return bytes((0x74, over))


def nops(count: int) -> bytes:
    """Returns one-byte instructions that do nothing."""
    return b"\x90" * count
