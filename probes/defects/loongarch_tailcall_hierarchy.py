"""Pitfall 4 on LoongArch: each call of a subprogram starts the count of tail calls anew.

Loads programs that call a tail-calling subprogram once and twice. Observes how often they are entered. On other
architectures every kernel counts a single call correctly, so that probes use it as a control. On LoongArch a single
call shows the defect, so the control has no subprogram. Fewer entries than 34 have another cause.

build_prologue() of arch/loongarch/net/bpf_jit.c decides: its first instruction sets the count, in subprograms too,
until Linux kernel commit c0fcc955ff82 ("LoongArch: BPF: Fix the tailcall hierarchy") (in v6.17).
"""

from __future__ import annotations

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import HEALTHY, bound, control, count_chain, expect
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]

_CALLS = ((1, "one call"), (2, "two calls"))


def _run(kernel: Bpf) -> Result:
    control(kernel, subprograms=False)
    seen = {
        f"{name}, {'indirect' if indirect else 'direct'}": expect(
            kernel,
            bound(count_chain, kernel, bpf.SOCKET_FILTER, through_subprogram=True, calls=calls, indirect=indirect),
            f"a program with {name} of a subprogram",
        )
        for calls, name in _CALLS
        for indirect in (False, True)
    }
    wrong = {way: entries for way, entries in seen.items() if entries != HEALTHY}
    counts = ", ".join(f"{entries} ({way})" for way, entries in wrong.items())
    if any(entries > HEALTHY for entries in wrong.values()):
        return Result(PRESENT, f"calls of a subprogram that tail-calls: {counts} entries instead of {HEALTHY}")
    if wrong:
        raise InconclusiveError(f"calls of a subprogram that tail-calls: {counts} entries, too few for the defect")
    return Result(ABSENT, f"one and two calls of a subprogram that tail-calls: {HEALTHY} entries")


PROBE = Probe("loongarch-tailcall-hierarchy", "socket filters that call a tail-calling subprogram once and twice", _run)
