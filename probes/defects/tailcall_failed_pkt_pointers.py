"""The verifier refuses packet pointers after a tail call that was not taken.

Loads a TC program that checks a packet pointer, tail-calls, and reads the packet through the pointer: a program only
continues after a tail call that was not taken. Observes whether the verifier refuses the program; it must accept the
same program without the tail call. The program is not run.

check_helper_call() decides: Linux kernel commit 1a4607ffba35 ("bpf: consider that tail calls invalidate packet
pointers") (in v6.13, 6.12.9, 6.6.90) invalidates the pointers, and e3245f899043 ("bpf: properly verify tail call
behavior") (in v6.19, 6.18.2) keeps them valid in a main program.
"""

from __future__ import annotations

import errno

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import R0, R1, R2, R6, R7, R8, Program
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.kernel.privileges import refusal_in_words
from tailcall_audit.probes.kernel.programs import expect, return_value, tail_call
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]

_DATA, _DATA_END = 76, 80
"""Offsets in struct __sk_buff."""


def _load(kernel: Bpf, array: int | None) -> int:
    program = Program().function("entry").mov(R6, R1)
    program.load(4, R7, R6, _DATA).load(4, R8, R6, _DATA_END)
    program.mov(R2, R7).alu(R2, "+", 1).jump_if_reg(R2, ">", R8, "leave")
    if array is not None:
        tail_call(program, array)
    program.load(1, R0, R7, 0)
    return kernel.load(bpf.SCHED_CLS, return_value(program, label="leave"), name="behind")


def _run(kernel: Bpf) -> Result:
    array = kernel.prog_array()
    expect(kernel, lambda: _load(kernel, None), "control: a TC program that reads the packet")
    try:
        _load(kernel, array)
    except BpfError as error:
        if error.errno == errno.EACCES and "invalid mem access 'scalar'" in error.log:
            return Result(PRESENT, f"the verifier refuses to read the packet behind a tail call ({error.words})")
        raise InconclusiveError(
            f"refused, and not for the packet pointer: {refusal_in_words(kernel, error)}"
        ) from error
    return Result(ABSENT, "the verifier lets a program read the packet behind a tail call that was not taken")


PROBE = Probe("tailcall-failed-pkt-pointers", "a TC program that the verifier should take; it is not run", _run)
