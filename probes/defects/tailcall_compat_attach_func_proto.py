"""A prog_array accepts tracing programs of functions with different prototypes.

Loads a program with BTF twice, fentry programs for a function of each, and a prog_array that the first fentry program
owns. Observes whether the fentry program for the second program's function may enter: to the kernel, the two prototypes
are different types. Another fentry program for the first function must be allowed to enter. Nothing is attached.

bpf_prog_map_compatible() decides, since Linux kernel commit 28ead3eaabc1 ("bpf: Prevent tail call between progs
attached to different hooks") (in v6.12) compares attach_func_proto.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.compatibility import must_enter, owner
from tailcall_audit.probes.defects.freplace import target
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import Bpf, function_number
from tailcall_audit.probes.kernel.programs import expect, refusal_of_put, return_value
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE"]


def _load(kernel: Bpf, traced: int) -> int:
    program = return_value(Program().function("tracer"))
    return kernel.load(bpf.TRACING, program, target=(traced, function_number(1)), attach_type=bpf.FENTRY, name="tracer")


def _run(kernel: Bpf) -> Result:
    first = expect(kernel, lambda: target(kernel, kind=bpf.SCHED_CLS), "a program to trace")
    second = expect(kernel, lambda: target(kernel, kind=bpf.SCHED_CLS), "a program to trace")
    array = kernel.prog_array()
    expect(
        kernel,
        lambda: owner(kernel, bpf.TRACING, array, target=(first, function_number(1)), attach_type=bpf.FENTRY),
        "an fentry program that tail-calls",
    )
    must_enter(kernel, array, _load(kernel, first), "an fentry program of the same function in the prog_array")
    refusal = refusal_of_put(kernel, array, _load(kernel, second), "an fentry program of another function")
    if refusal is None:
        return Result(PRESENT, "an fentry program of another function, with another prototype, enters the prog_array")
    return Result(ABSENT, f"an fentry program of another function is refused by the prog_array ({refusal})")


PROBE = Probe(
    "tailcall-compat-attach-func-proto", "TC programs and fentry programs for their functions; none is attached", _run
)
