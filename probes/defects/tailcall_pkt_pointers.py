"""Packet pointers stay valid across a call of a subprogram that may tail-call a program which moves the packet.

Loads a TC program that checks a packet pointer, calls a tail-calling subprogram, and reads the packet through the
pointer. Observes whether the verifier accepts the program; it must accept the same program without the tail call. The
program is not run.

bpf_helper_changes_pkt_data() decides: since Linux kernel commit 1a4607ffba35 ("bpf: consider that tail calls invalidate
packet pointers") (in v6.13, 6.12.9, 6.6.90) it lists bpf_tail_call.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.verifier import judge
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import R0, R1, R2, R6, R7, R8, Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import return_value, subprogram
from tailcall_audit.probes.probe import Probe, Result

__all__ = ["PROBE"]

_DATA, _DATA_END = 76, 80
"""Offsets in struct __sk_buff."""


def _program(array: int | None) -> Program:
    program = Program().function("entry").mov(R6, R1)
    program.load(4, R7, R6, _DATA).load(4, R8, R6, _DATA_END)
    program.mov(R2, R7).alu(R2, "+", 1).jump_if_reg(R2, ">", R8, "leave")
    program.mov(R1, R6).call("sub").load(1, R0, R7, 0)
    return subprogram(return_value(program, label="leave"), array)


def _run(kernel: Bpf) -> Result:
    return judge(
        kernel,
        bpf.SCHED_CLS,
        _program(kernel.prog_array()),
        _program(None),
        ("invalid mem access 'scalar'", "invalid mem access 'inv'"),
        "the verifier lets a program read the packet through a pointer from before a tail-calling subprogram",
    )


PROBE = Probe("tailcall-pkt-pointers", "a TC program that the verifier should refuse; it is not run", _run)
