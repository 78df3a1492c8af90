"""The verifier accepts a tail call in a subprogram of a callback.

Loads a program that lets bpf_for_each_map_elem() call a callback, whose subprogram tail-calls. Observes whether the
verifier accepts the program; it must accept the same program without the tail call. The program is not run: since
116e04ba1459 a register holds a pointer to the count, and a callback is entered with an arbitrary value in that
register.

check_max_stack_depth_subprog() decides, since Linux kernel commit a41d0c30d764 ("bpf: Reject callback subprogs invoke
tailcall") (in v7.3).
"""

from __future__ import annotations

from tailcall_audit.probes.defects.verifier import judge
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import FP, R1, R2, R3, R4, Program
from tailcall_audit.probes.kernel.bpf import Bpf, Function
from tailcall_audit.probes.kernel.programs import return_value, subprogram
from tailcall_audit.probes.probe import Probe, Result

__all__ = ["PROBE"]

_HELPER_FOR_EACH_MAP_ELEM = 164
_FUNCTIONS = (Function("entry", True), Function("callback", False), Function("sub", False))


def _program(values: int, array: int | None) -> Program:
    # The tail call needs the program's context. It is on the stack, whose address is the callback's last argument.
    program = Program().function("entry").store(8, FP, -8, R1).map_fd(R1, values).function_address(R2, "callback")
    program.mov(R3, FP).alu(R3, "+", -8).set(R4, 0).helper(_HELPER_FOR_EACH_MAP_ELEM)
    return_value(program).function("callback").load(8, R1, R4, 0).call("sub")
    return subprogram(return_value(program), array)


def _run(kernel: Bpf) -> Result:
    values = kernel.array()
    return judge(
        kernel,
        bpf.SOCKET_FILTER,
        _program(values, kernel.prog_array()),
        _program(values, None),
        ("cannot tail call within callback",),
        "the verifier lets a callback's subprogram tail-call",
        _FUNCTIONS,
    )


PROBE = Probe("tailcall-via-callback-subprog", "a socket filter that the verifier should refuse; it is not run", _run)
