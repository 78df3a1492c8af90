"""Pitfall 4: the limit of tail calls does not hold across sibling subprograms.

Loads a program that calls a tail-calling subprogram twice. Observes how often it is entered: affected kernels pass the
counter to callees but never back, so each call starts again from the caller's value (about 2^33 entries if the program
did not stop itself).

do_jit() and emit_bpf_tail_call_*() of arch/x86/net/bpf_jit_comp.c decide: Linux kernel commit 116e04ba1459 ("bpf, x64:
Fix tailcall hierarchy") (in v6.12) shares one counter through a pointer. The program is the same on the other
architectures, where 66ff4d61dc12 (arm64, in v6.12) and c861a6b14713 (s390x, in v6.18) decide. LoongArch has a probe of
its own.
"""

from __future__ import annotations

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import HEALTHY, bound, control, count_chain, expect
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE"]


def _run(kernel: Bpf) -> Result:
    control(kernel)

    def twice(indirect: bool) -> int:
        return count_chain(kernel, bpf.SOCKET_FILTER, through_subprogram=True, calls=2, indirect=indirect)

    seen = {
        way: expect(kernel, bound(twice, indirect), "a program that calls a subprogram twice")
        for way, indirect in (("direct", False), ("indirect", True))
    }
    wrong = {way: entries for way, entries in seen.items() if entries != HEALTHY}
    if wrong:
        counts = ", ".join(f"{entries} ({way})" for way, entries in wrong.items())
        return Result(PRESENT, f"two calls of a subprogram that tail-calls: {counts} entries instead of {HEALTHY}")
    return Result(ABSENT, f"two calls of a subprogram that tail-calls: {HEALTHY} entries")


_TWINS = (
    ("arm64", "arm64-tailcall-hierarchy"),
    ("s390x", "s390-tailcall-hierarchy"),
)
PROBE = Probe("x86-hierarchy", "a socket filter that calls a tail-calling subprogram twice", _run, twins=_TWINS)
