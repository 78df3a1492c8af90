"""The owner check treats a tracing program of a TC program as a TC program.

Loads a TC program that owns a prog_array and an fentry program for a TC program. Observes whether the fentry program,
which gets another context, may enter the prog_array; another TC program must be allowed to enter. Nothing is attached
or run.

__bpf_prog_map_compatible() decides: the 5.15.192 backport of fd1c98f0ef5c (c04992612ed4 there) uses dst_prog's type for
every program that has one, not only for freplace programs. No other kernel is known to do so.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.compatibility import must_enter
from tailcall_audit.probes.defects.freplace import claim, target
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import Bpf, function_number
from tailcall_audit.probes.kernel.programs import expect, load_simple, refusal_of_put, return_value
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE"]


def _run(kernel: Bpf) -> Result:
    traced = expect(kernel, lambda: target(kernel, kind=bpf.SCHED_CLS), "a program to trace")
    array = expect(kernel, lambda: claim(kernel, bpf.SCHED_CLS), "a prog_array owned by a TC program")
    must_enter(kernel, array, load_simple(kernel, bpf.SCHED_CLS), "a TC program in the prog_array")
    tracer = expect(
        kernel,
        lambda: kernel.load(
            bpf.TRACING,
            return_value(Program().function("tracer")),
            target=(traced, function_number(1)),
            attach_type=bpf.FENTRY,
            name="tracer",
        ),
        "an fentry program",
    )
    refusal = refusal_of_put(kernel, array, tracer, "an fentry program")
    if refusal is None:
        return Result(PRESENT, "an fentry program of a TC program enters a TC program's prog_array")
    return Result(ABSENT, f"an fentry program is refused by a TC program's prog_array ({refusal})")


PROBE = Probe("tracing-dst-prog-type-confusion", "TC programs and an fentry program that is not attached", _run)
