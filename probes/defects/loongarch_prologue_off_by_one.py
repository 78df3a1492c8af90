"""LoongArch: the code of a program with a subprogram and a tail call is one instruction longer than was measured.

In a guest: runs a program that calls a subprogram, makes a tail call that is not taken, and returns. With the defect,
its last instruction is missing, and the kernel oopses behind it.

build_prologue() of arch/loongarch/net/bpf_jit.c decides: its second pass emits one instruction more than the first,
which measured the program. Linux kernel commit 7e2586991e36 ("LoongArch: BPF: Fix off-by-one error in
build_prologue()") (in v6.15) emits a nop in the first.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.not_taken import look_only, reached_by_a_tail_call_that_is_not_taken
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import control, expect
from tailcall_audit.probes.probe import ABSENT, Probe, Result

__all__ = ["PROBE"]


def _run(kernel: Bpf) -> Result:
    control(kernel, subprograms=False)
    what = "a program with a subprogram and a tail call that is not taken"
    expect(kernel, lambda: reached_by_a_tail_call_that_is_not_taken(kernel), what)
    return Result(ABSENT, f"{what} returns")


PROBE = Probe(
    "loongarch-prologue-off-by-one",
    "a socket filter that calls a subprogram and makes a tail call that is not taken",
    _run,
    hazard="panics the kernel where the defect is there",
    # The oops is at an address of no function: test_run is what called the program.
    panics_in=("bpf_test_run", "bpf_prog_test_run_skb"),
    safe=look_only,
)
