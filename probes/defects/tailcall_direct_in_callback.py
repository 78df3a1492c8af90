"""A callback makes a tail call directly, not through a subprogram.

Loads a program that lets bpf_for_each_map_elem() call a callback which tail-calls. Observes the verifier's answer. With
the fix it refuses the program with a message about callbacks. Without it, the verifier's model of the tail call
violates the rules for callbacks, which is an internal error of the verifier (EFAULT and a warning). The program is not
run; the same program without the tail call must be accepted. **Runs in a guest only**: panic_on_warn may be set.

check_helper_call() decides: Linux kernel commit e3245f899043 ("bpf: properly verify tail call behavior") (in v6.19,
6.18.2) models the tail call, and 266aa4ad0b2e ("bpf: Reject tail calls directly from callback frames") (in v7.3, 7.2.7)
refuses it.
"""

from __future__ import annotations

import errno

from tailcall_audit.probes.defects import tailcall_verifier_return_model
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import FP, R1, R2, R3, R4, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError, Function
from tailcall_audit.probes.kernel.privileges import refusal_in_words
from tailcall_audit.probes.kernel.programs import expect, out_of_reach, return_value, tail_call
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]

_HELPER_FOR_EACH_MAP_ELEM = 164
_FUNCTIONS = (Function("entry", True), Function("callback", False))


def _load(kernel: Bpf, values: int, array: int | None) -> int:
    # The tail call needs the program's context. It is on the stack, whose address is the callback's last argument.
    program = Program().function("entry").store(8, FP, -8, R1).map_fd(R1, values).function_address(R2, "callback")
    program.mov(R3, FP).alu(R3, "+", -8).set(R4, 0).helper(_HELPER_FOR_EACH_MAP_ELEM)
    return_value(program).function("callback").load(8, R6, R4, 0)
    if array is not None:
        tail_call(program, array)
    return kernel.load(bpf.SOCKET_FILTER, return_value(program), functions=_FUNCTIONS, name="callback")


def _run(kernel: Bpf) -> Result:
    values, array = kernel.array(), kernel.prog_array()
    expect(kernel, lambda: _load(kernel, values, None), "control: a callback without a tail call")
    try:
        _load(kernel, values, array)
    except BpfError as error:
        if error.errno == errno.EFAULT:
            return Result(PRESENT, f"the verifier trips over a tail call of a callback ({error.words})")
        if error.errno == errno.EINVAL and "cannot tail call within callback" in error.log:
            return Result(ABSENT, f"the verifier refuses a tail call of a callback ({error.words})")
        out_of_reach(kernel, error)
        raise InconclusiveError(f"a tail call of a callback: {refusal_in_words(kernel, error)}") from error
    return Result(ABSENT, "cannot be reached: the verifier takes a tail call of a callback and models nothing", False)


def _look_only(kernel: Bpf) -> Result:
    """Returns the result on a host if the defect cannot be reached: only a verifier that models a taken tail call can
    fail on it. Raises InconclusiveError otherwise.
    """
    if tailcall_verifier_return_model.PROBE.run(kernel).state == PRESENT:
        return Result(ABSENT, "cannot be reached: the verifier does not model a tail call that is taken", False)
    raise InconclusiveError("only a guest can show this: the verifier may warn, and panic_on_warn be set")


PROBE = Probe(
    "tailcall-direct-in-callback",
    "a socket filter that the verifier should refuse; it is not run",
    _run,
    hazard="the verifier warns, and a kernel with panic_on_warn ends",
    safe=_look_only,
)
