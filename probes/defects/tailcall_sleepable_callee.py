"""A sleepable program enters the prog_array of a program that may not sleep.

Loads a kprobe program that owns a prog_array, and another one with BPF_F_SLEEPABLE. Observes whether the sleepable
program may enter; the same program without the flag must be allowed to enter. Nothing is attached or run.

__bpf_prog_map_compatible() decides, since Linux kernel commit 0f0c332992b8 ("bpf: Allow sleepable programs to use tail
calls") (in v7.0). Kprobe programs may sleep since 64ad7556c75e ("bpf: allow sleepable uprobe programs to attach") (in
v6.0); on older kernels the probe is inconclusive.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.compatibility import must_enter, owner
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import expect, refusal_of_put, return_value
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE"]


def _callee(kernel: Bpf, flags: int) -> int:
    return kernel.load(bpf.KPROBE, return_value(Program().function("callee")), flags=flags, name="callee")


def _run(kernel: Bpf) -> Result:
    array = kernel.prog_array()
    expect(kernel, lambda: owner(kernel, bpf.KPROBE, array, attach_type=0), "a kprobe program that tail-calls")
    plain = expect(kernel, lambda: _callee(kernel, 0), "a kprobe program")
    must_enter(kernel, array, plain, "a kprobe program that may not sleep either")
    sleepable = expect(kernel, lambda: _callee(kernel, bpf.SLEEPABLE), "a sleepable kprobe program")
    refusal = refusal_of_put(kernel, array, sleepable, "a sleepable kprobe program")
    if refusal is None:
        return Result(PRESENT, "a sleepable kprobe program enters the prog_array of one that may not sleep")
    return Result(
        ABSENT, f"a sleepable kprobe program is refused by the prog_array of one that may not sleep ({refusal})"
    )


PROBE = Probe("tailcall-sleepable-callee", "kprobe programs that may sleep and that may not; none is attached", _run)
