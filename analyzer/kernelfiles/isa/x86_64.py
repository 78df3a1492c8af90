"""Decoded x86-64 instructions, and what the signatures of code share."""

from __future__ import annotations

import re
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.libraries import capstone_errors
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["MEMORY", "REGISTERS", "Insn", "constants", "decode", "place_of"]

MEMORY = re.compile(r"(byte|word|dword|qword) ptr \[(\w+)(?: \+ (0x[0-9a-f]+|\d+))?\]")
REGISTERS = {}
for _wide, _names in {
    "rax": "eax ax al", "rbx": "ebx bx bl", "rcx": "ecx cx cl", "rdx": "edx dx dl", "rsi": "esi si sil", "rdi": "edi di dil",
    "rbp": "ebp bp bpl", "rsp": "esp sp spl",
}.items():  # fmt: skip
    for _name in (_wide, *_names.split()):
        REGISTERS[_name] = _wide
for _number in range(8, 16):
    for _suffix in ("", "d", "w", "b"):
        REGISTERS[f"r{_number}{_suffix}"] = f"r{_number}"


class Insn(NamedTuple):
    """A decoded instruction, as a disassembler writes it, and its address."""

    mnemonic: str
    operands: str
    address: int = 0

    @property
    def parts(self) -> list[str]:
        """The first operand, and the rest; one empty string where there is none."""
        return [part.strip() for part in self.operands.split(",", 1)]


def decode(function: Function) -> list[Insn] | None:
    """The instructions of a function; None where its bytes are not all code. Raises AuditError where capstone cannot be loaded."""
    found = []
    size = 0
    with capstone_errors(lambda words: AuditError(f"machine code cannot be decoded: capstone: {words}")):
        from capstone import CS_ARCH_X86, CS_MODE_64, Cs

        decoder = Cs(CS_ARCH_X86, CS_MODE_64)
        for address, length, mnemonic, operands in decoder.disasm_lite(function.code, function.address):
            found.append(Insn(mnemonic, operands, address))
            size += length
    # Up to the next symbol there may be padding that is no instruction.
    return found if size >= len(function.code) - 15 else None


def constants(insns: list[Insn], wanted: str) -> int:
    """How many instructions store or use a constant as their last operand."""
    return sum(insn.parts[-1] == wanted for insn in insns)


def place_of(btf: Btf, struct: str, member: str) -> int | None:
    """Where a member stands, in bytes from the start of its struct; None where there is no such member, or it is a bit field."""
    found = btf.member(struct, member)
    return None if found is None or found.offset % 8 else found.offset // 8
