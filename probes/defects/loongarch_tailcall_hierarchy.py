"""Pitfall 4 on LoongArch: each call of a subprogram starts the count of tail calls anew.

Loads programs that call a tail-calling subprogram once and twice. Observes how often they are entered. Elsewhere, one
call alone is counted right in all kernels, and a control of the other probes; here it is the defect itself.

build_prologue() of arch/loongarch/net/bpf_jit.c decides: its first instruction sets the count, in subprograms too,
until Linux kernel commit c0fcc955ff82 ("LoongArch: BPF: Fix the tailcall hierarchy") (in v6.17).
"""

from __future__ import annotations

from functools import partial

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import HEALTHY, control, count_chain, expect
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE"]

_CALLS = ((1, "one call"), (2, "two calls"))


def _run(kernel: Bpf) -> Result:
    control(kernel, subprograms=False)
    seen = {
        f"{name}, {'indirect' if indirect else 'direct'}": expect(
            kernel,
            partial(count_chain, kernel, bpf.SOCKET_FILTER, through_subprogram=True, calls=calls, indirect=indirect),
            f"a program with {name} of a subprogram",
        )
        for calls, name in _CALLS
        for indirect in (False, True)
    }
    wrong = {way: entries for way, entries in seen.items() if entries != HEALTHY}
    if wrong:
        counts = ", ".join(f"{entries} ({way})" for way, entries in wrong.items())
        return Result(PRESENT, f"calls of a subprogram that tail-calls: {counts} entries instead of {HEALTHY}")
    return Result(ABSENT, f"one and two calls of a subprogram that tail-calls: {HEALTHY} entries")


PROBE = Probe("loongarch-tailcall-hierarchy", "socket filters that call a tail-calling subprogram once and twice", _run)
