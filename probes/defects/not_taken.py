"""A program with a subprogram and a tail call that is not taken, for two probes of LoongArch."""

from __future__ import annotations

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL, R1, R2, R3, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import count_entry, needs_jit, return_value
from tailcall_audit.probes.probe import InconclusiveError, Result

__all__ = ["look_only", "reached_by_a_tail_call_that_is_not_taken"]


def reached_by_a_tail_call_that_is_not_taken(kernel: Bpf) -> int:
    """Runs the program, and returns how often another one is entered that no tail call may reach.

    The instruction in front of the tail call lowers the index from 2 to 1. It is one machine instruction. The
    prog_array has one entry, so the tail call is not taken. Code that jumps back to that instruction lowers the index
    to 0 and enters the other program, which does not loop.
    """
    reached, counters, array = kernel.array(), kernel.array(), kernel.prog_array()
    other = count_entry(Program().function("other"), reached, "leave")
    kernel.put(array, 0, kernel.load(bpf.SOCKET_FILTER, return_value(other, label="leave"), name="other"))
    program = count_entry(Program().function("entry"), counters, "leave").call("sub")
    program.mov(R1, R6).map_fd(R2, array).set(R3, 2).alu(R3, "-", 1).helper(HELPER_TAIL_CALL)
    return_value(program, label="leave")
    return_value(program.function("sub"))
    kernel.run(kernel.load(bpf.SOCKET_FILTER, program, name="beyond"))
    if kernel.count(counters) != 1:
        raise InconclusiveError(f"the program was entered {kernel.count(counters)} times and not once")
    return kernel.count(reached)


def look_only(kernel: Bpf) -> Result:
    """Raises UnreachableError if this host's JIT compiles nothing, and InconclusiveError otherwise."""
    needs_jit(kernel)
    raise InconclusiveError("only a guest can show this: running such a program may panic this kernel")
