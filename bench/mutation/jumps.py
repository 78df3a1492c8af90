"""Makes every conditional jump of a function unconditional: once never taken, once always taken."""

from __future__ import annotations

from collections.abc import Iterator

from bench.mutation.subject import Instruction, Mutation, Subject, decode, replace
from tailcall_audit.analyzer.kernelfiles.binary import Function

__all__ = ["always", "flips", "never"]

_NOP = b"\x90"
_LONG = 6
"""The length of a conditional jump with a displacement of four bytes: 0f 8x and the displacement."""


def never(jump: Instruction) -> bytes:
    """Returns code of the same length as a conditional jump that falls through."""
    return _NOP * len(jump.code)


def always(jump: Instruction) -> bytes:
    """Returns code of the same length as a conditional jump that always jumps to its target. A long unconditional jump
    is one byte shorter, so a no-operation precedes it.
    """
    if len(jump.code) == 2:
        return b"\xeb" + jump.code[1:]
    assert len(jump.code) == _LONG
    return _NOP + b"\xe9" + jump.code[2:]


def flips(subject: Subject, function: Function) -> Iterator[Mutation]:
    """Yields two mutations for each conditional jump of a function: one never jumps, one always does."""
    for instruction in decode(function.code, function.address):
        if not instruction.is_conditional_jump or len(instruction.code) not in (2, _LONG):
            continue
        for word, code in (("never", never(instruction)), ("always", always(instruction))):
            yield replace(subject, function.name, f"{instruction.mnemonic} {word}", [(instruction, code)])
