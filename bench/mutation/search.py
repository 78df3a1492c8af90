"""Finds instructions by what they do: a compare of a structure's member, the jump after it, a stored constant."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.mutation.subject import Instruction, MutationError

__all__ = ["Memory", "constant", "first", "following", "jump_behind", "memory", "with_constant"]

_MEMORY = re.compile(r"(byte|word|dword|qword) ptr \[(\w+)(?: \+ (0x[0-9a-f]+|\d+))?\]")
_NUMBER = re.compile(r"-?(?:0x[0-9a-f]+|\d+)")


class Memory(NamedTuple):
    """A memory operand: its width, base register and displacement. `is_target` is True if it is the first operand."""

    width: str
    base: str
    displacement: int
    is_target: bool


def memory(instruction: Instruction) -> Memory | None:
    """Returns the memory operand of an instruction; None unless it has one with a base register and no index."""
    found = _MEMORY.search(instruction.operands)
    if found is None:
        return None
    return Memory(found.group(1), found.group(2), int(found.group(3) or "0", 0), found.start() == 0)


def constant(instruction: Instruction) -> int | None:
    """Returns the constant that is an instruction's last operand; None if the last operand is no constant."""
    last = instruction.operands.rpartition(",")[2].strip()
    return int(last, 0) if _NUMBER.fullmatch(last) else None


def first(code: Sequence[Instruction], what: str, test: Callable[[Instruction], bool], start: int = 0) -> int:
    """Returns the index of the first instruction from `start` on that passes a test. Raises MutationError with `what`
    if there is none.
    """
    for index in range(start, len(code)):
        if test(code[index]):
            return index
    raise MutationError(f"no {what}")


def following(code: Sequence[Instruction], index: int, count: int) -> Sequence[Instruction]:
    """Returns the next `count` instructions after one."""
    return code[index + 1 : index + 1 + count]


def jump_behind(code: Sequence[Instruction], index: int) -> Instruction:
    """Returns the conditional jump that a compare decides, with no instruction between that changes flags. Raises
    MutationError if there is none.
    """
    for item in code[index + 1 :]:
        if item.is_conditional_jump:
            return item
        if item.mnemonic not in ("mov", "lea", "movzx"):
            break
    raise MutationError(f"no conditional jump behind the compare at {code[index].address:#x}")


def with_constant(instruction: Instruction, old: int, new: int) -> bytes:
    """Returns an instruction's code with the constant of one or four bytes at its end replaced. Raises MutationError if
    the code does not end in that constant.
    """
    for size in (4, 1):
        tail = (old & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        if instruction.code.endswith(tail) and len(instruction.code) > size:
            return instruction.code[:-size] + (new & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    raise MutationError(f"the code at {instruction.address:#x} does not end in the constant {old:#x}")
