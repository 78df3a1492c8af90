"""Hand-made machine code: listings in the disassembler's words, and types that have only offsets."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn

START = 0xFFFFFFFF81000000
_SIZE = 4
"""Bytes of each instruction."""


def listed(text: str, start: int = START) -> list[Insn]:
    """Returns the instructions of a listing, one a line. A line ``name:`` names the place of the next, and a jump to a
    name of the listing has its address.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    places: dict[str, int] = {}
    count = 0
    for line in lines:
        if line.endswith(":"):
            places[line[:-1]] = start + _SIZE * count
        else:
            count += 1
    insns: list[Insn] = []
    for line in lines:
        if not line.endswith(":"):
            mnemonic, _, operands = line.partition(" ")
            operands = hex(places[operands]) if operands in places else operands
            insns.append(Insn(mnemonic, operands, start + _SIZE * len(insns)))
    return insns


def function(name: str) -> Function:
    return Function(name, START, b"")


def types(members: Mapping[tuple[str, str], float]) -> Any:
    """Returns type data with these members, by structure and name: their offsets in bytes (a fraction for a bit field)."""

    def member(struct: str, name: str) -> SimpleNamespace | None:
        offset = members.get((struct, name))
        return None if offset is None else SimpleNamespace(offset=int(8 * offset))

    return SimpleNamespace(member=member)
