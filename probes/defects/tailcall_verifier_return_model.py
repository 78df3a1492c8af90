"""The verifier trusts the return value of a subprogram, although a tail call in it may return any value.

Loads a program that calls a subprogram and uses the return value as an offset into a map value of 64 bytes. The
subprogram tail-calls, and returns 0 if the tail call is not taken. Observes whether the verifier accepts the program;
it must accept the same program without the tail call. The program is not run.

check_helper_call() decides: since Linux kernel commit e3245f899043 ("bpf: properly verify tail call behavior") (in
v6.19) it also follows the path on which the tail call is taken.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.verifier import judge
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import R0, R1, R2, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import return_value, subprogram
from tailcall_audit.probes.probe import Probe, Result

__all__ = ["PROBE"]


def _program(values: int, array: int | None) -> Program:
    program = Program().function("entry").mov(R6, R1).call("sub")
    program.map_value(R2, values).alu_reg(R2, "+", R0).load(1, R0, R2, 0)
    return subprogram(return_value(program), array)


def _run(kernel: Bpf) -> Result:
    values = kernel.array()
    return judge(
        kernel,
        bpf.SOCKET_FILTER,
        _program(values, kernel.prog_array()),
        _program(values, None),
        (
            "unbounded memory access",
            "min value is negative",
            "value is outside of the allowed memory range",
            "math between map_value pointer",
        ),
        "the verifier takes what a tail-calling subprogram returns for 0 and lets it be an offset",
    )


PROBE = Probe("tailcall-verifier-return-model", "a socket filter that the verifier should refuse; it is not run", _run)
