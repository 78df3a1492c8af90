"""s390x: the trampoline does not copy the tail call count back from the subprogram that it traces.

Loads a program that calls a tail-calling subprogram twice, and fentry and fexit programs for that subprogram. Observes
how often the program is entered while one of them or both trace the subprogram. The probe is inconclusive if the
program is entered too often without a tracer (pitfall 4 on s390x).

The trampoline of arch/s390/net/bpf_jit_comp.c decides: it copies the count to the traced subprogram's frame and, until
Linux kernel commit bc3905a71f02 ("s390/bpf: Write back tail call counter for BPF_TRAMP_F_CALL_ORIG") (in v6.18), never
back.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.x86_trampoline_loop import traced
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import HEALTHY, bound, control, count_chain, expect
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]

_TRACERS = (((bpf.FENTRY,), "fentry"), ((bpf.FEXIT,), "fexit"), ((bpf.FENTRY, bpf.FEXIT), "both"))


def _run(kernel: Bpf) -> Result:
    control(kernel)
    what = "a program that calls a subprogram twice"
    untraced = expect(kernel, bound(count_chain, kernel, bpf.SOCKET_FILTER, through_subprogram=True, calls=2), what)
    if untraced != HEALTHY:
        raise InconclusiveError(f"{what} is entered {untraced} times untraced, so a trampoline cannot be judged")
    seen = {
        f"{name}, {'indirect' if indirect else 'direct'}": traced(kernel, kinds, indirect, calls=2)
        for indirect in (False, True)
        for kinds, name in _TRACERS
    }
    wrong = {way: entries for way, entries in seen.items() if entries != HEALTHY}
    if wrong:
        counts = ", ".join(f"{entries} ({way})" for way, entries in wrong.items())
        return Result(
            PRESENT, f"two calls of a traced subprogram that tail-calls: {counts} entries instead of {HEALTHY}"
        )
    return Result(
        ABSENT, f"two calls of a traced subprogram that tail-calls: {HEALTHY} entries, by fentry, by fexit and by both"
    )


PROBE = Probe(
    "s390-trampoline-tcc-writeback",
    "a socket filter that calls a tail-calling subprogram twice, and fentry and fexit programs on that",
    _run,
)
