"""Shared code of the probes of the owner check: a prog_array's owner, and the programs that may enter the same
prog_array.

The first program that tail-calls into a prog_array, or that is put into it, owns it. bpf_prog_map_compatible() compares
all others with the owner. No program is run: the observation is that a program enters although it should be refused.
"""

from __future__ import annotations

from tailcall_audit.probes.kernel.assembler import R1, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import refusal_of_put, return_value, tail_call
from tailcall_audit.probes.probe import InconclusiveError

__all__ = ["must_enter", "owner"]


def owner(
    kernel: Bpf, kind: int, array: int, *, attach_type: int, returns: int = 0, target: tuple[int, int] | None = None
) -> int:
    """Loads a program that tail-calls into the prog_array and so becomes its owner. The program returns the value
    `returns`, which its type requires.
    """
    program = return_value(tail_call(Program().function("owner").mov(R6, R1), array), returns)
    return kernel.load(kind, program, name="owner", attach_type=attach_type, target=target)


def must_enter(kernel: Bpf, array: int, program: int, what: str) -> None:
    """Runs the control: a program that no check refuses must enter. Raises InconclusiveError if it is refused."""
    refusal = refusal_of_put(kernel, array, program, what)
    if refusal is not None:
        raise InconclusiveError(f"control: {what} is refused ({refusal})")
