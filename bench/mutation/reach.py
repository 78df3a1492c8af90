"""Which flips of jumps cannot change what a guest shows, since what they change never runs there."""

from __future__ import annotations

from collections.abc import Container

from bench.mutation.subject import Mutation, decode
from tailcall_audit.analyzer.kernelfiles.binary import Function

__all__ = ["matters"]


def matters(mutation: Mutation, function: Function, reached: Container[int]) -> bool:
    """Returns False if a flip of one jump changes nothing that runs: `reached` has the addresses of all instructions
    of the function that can have run. The jump itself did not run, or it always went where it now always goes.
    """
    if len(mutation.edits) != 1:
        return True
    edit = mutation.edits[0]
    (jump, *more) = decode(edit.old, edit.address)
    if more or not jump.is_conditional_jump:
        return True
    if edit.address not in reached:
        return False
    # What is jumped over never ran: the jump was always taken. What it leads to never ran: it never was.
    is_always = mutation.undoes.endswith(" always")
    other = edit.address + len(edit.old) if is_always else int(jump.operands, 0)
    is_inside = function.address <= other < function.address + len(function.code)
    return not is_inside or other in reached
