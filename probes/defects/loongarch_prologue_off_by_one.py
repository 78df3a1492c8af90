"""LoongArch: the code of a program with a subprogram and a tail call lacks its last instruction.

In a guest: loads a program that calls a subprogram, jumps over a tail call and returns. With the defect, the last
instruction of the generated code (the return) is beyond the end of its memory, and the kernel oopses behind it.

On a host: loads the program and does not run it. A kernel that refuses it cannot have the defect.

build_prologue() of arch/loongarch/net/bpf_jit.c decides: its second pass emits one instruction more than the first,
which measured the program. Linux kernel commit 7e2586991e36 ("LoongArch: BPF: Fix off-by-one error in
build_prologue()") (in v6.15) emits a nop in the first.
"""

from __future__ import annotations

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.instructions import R1, R2, R6, Program
from tailcall_audit.probes.kernel.programs import control, expect, needs_jit, return_value, tail_call
from tailcall_audit.probes.probe import ABSENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]


def _load(kernel: Bpf) -> int:
    flag, array = kernel.array(), kernel.prog_array()
    program = Program().function("entry").mov(R6, R1).call("sub")
    # The flag stays 0, but the verifier does not know it: the tail call is compiled and never made.
    program.map_value(R2, flag).load(8, R2, R2, 0).jump_if(R2, "==", 0, "leave")
    tail_call(program, array)
    return_value(program, label="leave")
    return_value(program.function("sub"))
    return kernel.load(bpf.SOCKET_FILTER, program, name="returns")


def _look_only(kernel: Bpf) -> Result:
    needs_jit(kernel)
    expect(kernel, lambda: _load(kernel), "a program with a subprogram and a tail call")
    raise InconclusiveError("only a guest can show this: running such a program may panic this kernel")


def _run(kernel: Bpf) -> Result:
    control(kernel, subprograms=False)
    what = "a program with a subprogram and a tail call"
    program = expect(kernel, lambda: _load(kernel), what)
    expect(kernel, lambda: kernel.run(program), what)
    return Result(ABSENT, f"{what} returns")


PROBE = Probe(
    "loongarch-prologue-off-by-one",
    "a socket filter that calls a subprogram and jumps over a tail call",
    _run,
    hazard="panics the kernel where the defect is there",
    panics_in=("bpf_prog_returns",),
    safe=_look_only,
)
