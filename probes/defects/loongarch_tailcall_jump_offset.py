"""LoongArch: a tail call that is not taken continues at the wrong instruction.

Loads a program with a subprogram. It lowers an index from 2 to 1 and tail-calls that entry of a prog_array with one
entry, so the tail call is not taken and the program returns. With the defect, the generated code jumps back to the
instruction in front of the tail call, which is the one that lowers the index: the index becomes 0, and that entry is a
program that the first one never calls. It is entered, and nothing loops.

emit_bpf_tail_call() of arch/loongarch/net/bpf_jit.c decides: in the last pass over a program with subprograms, the
distance of its jumps is counted from -1. Linux kernel commit cd39d9e6b7e4 ("LoongArch: BPF: Fix jump offset calculation
in tailcall") (in v6.17) takes it from the offsets of the instructions.
"""

from __future__ import annotations

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.instructions import HELPER_TAIL_CALL, R1, R2, R3, R6, Program
from tailcall_audit.probes.kernel.programs import control, count_entry, expect, return_value
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]


def _entries(kernel: Bpf) -> int:
    """Returns how often the program is entered that no tail call may reach."""
    reached, counters, array = kernel.array(), kernel.array(), kernel.prog_array()
    other = count_entry(Program().function("other"), reached, "leave")
    kernel.put(array, 0, kernel.load(bpf.SOCKET_FILTER, return_value(other, label="leave"), name="other"))
    program = count_entry(Program().function("entry"), counters, "leave").call("sub")
    # The instruction in front of the tail call has to be the one that lowers the index, and one machine instruction.
    program.mov(R1, R6).map_fd(R2, array).set(R3, 2).alu(R3, "-", 1).helper(HELPER_TAIL_CALL)
    return_value(program, label="leave")
    return_value(program.function("sub"))
    entry = kernel.load(bpf.SOCKET_FILTER, program, name="beyond")
    kernel.run(entry)
    if kernel.count(counters) != 1:
        raise InconclusiveError(f"the program was entered {kernel.count(counters)} times and not once")
    return kernel.count(reached)


def _run(kernel: Bpf) -> Result:
    control(kernel)
    what = "a tail call beyond the end of a prog_array, in a program with a subprogram,"
    entries = expect(kernel, lambda: _entries(kernel), what)
    if entries == 0:
        return Result(ABSENT, f"{what} continues behind it")
    if entries == 1:
        return Result(PRESENT, f"{what} jumps back to the instruction in front of it")
    raise InconclusiveError(f"{what} reaches entry 0 {entries} times")


PROBE = Probe(
    "loongarch-tailcall-jump-offset",
    "a socket filter with a subprogram that tail-calls beyond the end of a prog_array",
    _run,
)
