"""Splits a program's instructions, as the kernel shows them after the verifier, into functions.

They differ from the instructions in an object: a map is given by its id, a helper or kfunc by the distance of its
address from __bpf_call_base, and a call of a subprogram has the distance in its offset field.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.programs.byteorder import decode_instructions
from tailcall_audit.analyzer.programs.code import Code, ProgramsError, Reference, Refers
from tailcall_audit.analyzer.programs.names import helper_number
from tailcall_audit.analyzer.programs.types import SourceLine
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL
from tailcall_audit.probes.kernel.instructions import Insn
from tailcall_audit.probes.kernel.records import LoadedProgram

__all__ = ["Names", "Surroundings", "split"]

_LD_IMM64, _CALL = 0x18, 0x85
_PSEUDO_CALL, _PSEUDO_MAP, _PSEUDO_VALUE, _PSEUDO_FUNC = 1, 1, 2, 4
_ALIASES = {"bpf_user_rnd_u32": "get_prandom_u32", "bpf_skb_event_output": "perf_event_output"}
"""Kernel functions whose names differ from the helpers that they implement. No condition needs these; they make reports
readable.
"""


class Names(NamedTuple):
    """What is known of a program: its functions (name, and True if global) by the slot of their first instruction, and
    its source lines by slot.
    """

    functions: dict[int, tuple[str, bool | None]]
    lines: dict[int, SourceLine]


class Surroundings(NamedTuple):
    """What the numbers in a program mean on its host: the names of maps by id, and the kernel function that a call
    instruction calls.
    """

    maps: Mapping[int, str]
    symbol: Callable[[Insn], str | None]
    big_endian: bool


class _Splitter:
    """Splits a program's instructions into functions, and resolves what each instruction refers to.

    `first` is the index of the program's first function.
    """

    def __init__(self, program: LoadedProgram, names: Names, around: Surroundings, first: int) -> None:
        assert program.instructions is not None
        self._program = program
        self._names = names
        self._around = around
        self._first = first
        self._insns = decode_instructions(program.instructions, around.big_endian)
        self._slots: list[int] = []
        position = 0
        for insn in self._insns:
            self._slots.append(position)
            position += 2 if insn.code == _LD_IMM64 else 1
        self._end = position
        self._starts = self._find_starts()
        self._number = {start: index for index, start in enumerate(self._starts)}

    def _find_starts(self) -> list[int]:
        """Returns the slots where functions begin: by BTF, otherwise by the targets of calls."""
        found = {0, *self._names.functions}
        if len(found) == 1:
            for slot, insn in zip(self._slots, self._insns, strict=True):
                if insn.code == _CALL and insn.src == _PSEUDO_CALL:
                    found.add(slot + 1 + insn.off)
                elif insn.code == _LD_IMM64 and insn.src == _PSEUDO_FUNC:
                    found.add(slot + 1 + _signed(insn.imm))
        return sorted(found & {0, *self._slots})

    def codes(self) -> list[Code]:
        """Returns the functions in order."""
        by_slot = {slot: index for index, slot in enumerate(self._slots)}
        found = []
        for number, start in enumerate(self._starts):
            end = self._starts[number + 1] if number + 1 < len(self._starts) else self._end
            first, last = by_slot.get(start, 0), by_slot.get(end, len(self._insns))
            other = (self._program.name or "main") if not number else f"function@{start}"
            name, is_global = self._names.functions.get(start, (other, None))
            references: dict[int, Reference] = {}
            lines: dict[int, SourceLine] = {}
            for index in range(first, last):
                slot = self._slots[index]
                if (reference := self._refers(self._insns[index], slot)) is not None:
                    references[index - first] = reference
                if (line := self._names.lines.get(slot)) is not None:
                    lines[index - first] = line
            found.append(Code(name or other, tuple(self._insns[first:last]), references, is_global, lines))
        return found

    def _refers(self, insn: Insn, slot: int) -> Reference | None:
        if insn.code == _CALL:
            return self._called(insn, slot)
        if insn.code != _LD_IMM64 or not insn.src:
            return None
        low = insn.imm & 0xFFFFFFFF
        if insn.src == _PSEUDO_MAP and low in self._around.maps:
            return Reference(Refers.MAP, self._around.maps[low])
        if insn.src == _PSEUDO_VALUE and low in self._around.maps:
            return Reference(Refers.VALUE, self._around.maps[low], 0, insn.imm >> 32)
        if insn.src == _PSEUDO_FUNC and (target := self._number.get(slot + 1 + _signed(insn.imm))) is not None:
            return Reference(Refers.ADDRESS, "", self._first + target)
        return Reference(Refers.UNKNOWN, "")

    def _called(self, insn: Insn, slot: int) -> Reference | None:
        if insn.src == _PSEUDO_CALL:
            target = self._number.get(slot + 1 + insn.off)
            if target is None and 0 <= insn.imm < len(self._starts):
                target = insn.imm  # the distance exceeds 16 bits; `imm` is the function's number
            if target is None:
                raise ProgramsError(f"the call in slot {slot} goes to where no function begins")
            return Reference(Refers.FUNCTION, "", self._first + target)
        if insn.src == 0 and insn.imm == HELPER_TAIL_CALL:
            return None
        symbol = self._around.symbol(insn)
        if symbol is None:
            return Reference(Refers.KFUNC, "")
        number = None if insn.src else _helper(symbol)
        return Reference(Refers.KFUNC, symbol) if number is None else Reference(Refers.HELPER, symbol, number)


def _helper(symbol: str) -> int | None:
    """Returns the number of the helper that a kernel function implements."""
    name = _ALIASES.get(symbol) or symbol.removeprefix("bpf_")
    number = helper_number(name)
    if number is None and name.startswith("sk_skb_"):
        number = helper_number(name.removeprefix("sk_"))  # sk_skb variants have the same number
    return number


def _signed(imm: int) -> int:
    found: int = struct.unpack("<i", struct.pack("<I", imm & 0xFFFFFFFF))[0]
    return found


def split(program: LoadedProgram, names: Names, around: Surroundings, first: int) -> list[Code]:
    """Returns the functions of a program whose instructions are known. `first` is the index of its first function.

    Raises ProgramsError if the data is not a sequence of instructions.
    """
    return _Splitter(program, names, around, first).codes()
