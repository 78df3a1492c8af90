"""Finds flips of jumps that cannot change a guest's results, because the changed code never runs there."""

from __future__ import annotations

from collections.abc import Container

from bench.mutation.subject import Mutation, decode
from tailcall_audit.analyzer.kernelfiles.binary import Function

__all__ = ["matters"]


def matters(mutation: Mutation, function: Function, reached: Container[int]) -> bool:
    """Returns False if a flip of one jump has no effect: the jump did not run, or it always went the way that it now
    always goes. `reached` has the addresses of all instructions of the function that can have run.
    """
    if len(mutation.edits) != 1:
        return True
    edit = mutation.edits[0]
    (jump, *more) = decode(edit.old, edit.address)
    if more or not jump.is_conditional_jump:
        return True
    if edit.address not in reached:
        return False
    # If the code after the jump never ran, the jump was always taken. If its target never ran, it was never taken.
    is_always = mutation.undoes.endswith(" always")
    other = edit.address + len(edit.old) if is_always else int(jump.operands, 0)
    is_inside = function.address <= other < function.address + len(function.code)
    return not is_inside or other in reached
