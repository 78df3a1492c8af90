"""LoongArch: a tail call that is not taken continues at the wrong instruction.

In a guest: loads a program with a subprogram. It lowers an index from 2 to 1 and tail-calls that entry of a prog_array
with one entry, so the tail call is not taken and the program returns. With the defect, the generated code jumps back to
the instruction in front of the tail call, which is the one that lowers the index: the index becomes 0, and that entry
is a program that the first one never calls. It is entered, and nothing loops.

emit_bpf_tail_call() of arch/loongarch/net/bpf_jit.c decides: in the last pass over a program with subprograms, the
distance of its jumps is counted from -1. Linux kernel commit cd39d9e6b7e4 ("LoongArch: BPF: Fix jump offset calculation
in tailcall") (in v6.17) takes it from the offsets of the instructions.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.not_taken import look_only, reached_by_a_tail_call_that_is_not_taken
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import control, expect
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]


def _run(kernel: Bpf) -> Result:
    control(kernel, subprograms=False)
    what = "a tail call beyond the end of a prog_array, in a program with a subprogram,"
    entries = expect(kernel, lambda: reached_by_a_tail_call_that_is_not_taken(kernel), what)
    if entries == 0:
        return Result(ABSENT, f"{what} continues behind it")
    if entries == 1:
        return Result(PRESENT, f"{what} jumps back to the instruction in front of it")
    raise InconclusiveError(f"{what} reaches entry 0 {entries} times")


PROBE = Probe(
    "loongarch-tailcall-jump-offset",
    "a socket filter with a subprogram that tail-calls beyond the end of a prog_array",
    _run,
    hazard="panics a kernel that has loongarch-prologue-off-by-one",
    safe=look_only,
)
