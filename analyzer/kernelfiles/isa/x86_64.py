"""x86-64: decoding, operands in capstone's syntax, and the instructions that branch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.flow import Branches, Flow
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn, NoDisassemblerError
from tailcall_audit.analyzer.libraries import capstone_errors
from tailcall_audit.analyzer.model import AuditError

__all__ = ["BRANCHES", "MEMORY", "REGISTERS", "constants", "decode", "flow_of"]

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


BRANCHES = Branches(
    unconditional=frozenset(("jmp",)),
    conditional=("j",),
    ends=frozenset(("ret", "ud2", "int3", "hlt")),
    when_equal="je",
    when_different="jne",
    keeps_flags=frozenset(("mov", "movzx", "movsx", "movsxd", "movabs", "lea", "push", "pop", "nop")),
    reads_flags=("set", "cmov", "sbb", "adc", "j"),
)


def flow_of(insns: Sequence[Insn]) -> Flow:
    """Returns the steps between decoded instructions."""
    return Flow(insns, BRANCHES)


def decode(function: Function) -> list[Insn] | None:
    """Returns the instructions of a function; None if its bytes are not all code.

    Raises NoDisassemblerError if capstone is not installed or does not load, and AuditError if it fails.
    """
    try:
        from capstone import CS_ARCH_X86, CS_MODE_64, Cs
    except ImportError as error:
        raise NoDisassemblerError(f"capstone cannot be loaded: {error}") from error

    found = []
    size = 0
    with capstone_errors(lambda words: AuditError(f"machine code cannot be decoded: capstone: {words}")):
        decoder = Cs(CS_ARCH_X86, CS_MODE_64)
        for address, length, mnemonic, operands in decoder.disasm_lite(function.code, function.address):
            found.append(Insn(mnemonic, operands, address))
            size += length
    # The padding up to the next symbol may be no instruction.
    return found if size >= len(function.code) - 15 else None


def constants(insns: list[Insn], wanted: str) -> int:
    """Returns how many instructions store or use a constant as their last operand."""
    return sum(insn.parts[-1] == wanted for insn in insns)
