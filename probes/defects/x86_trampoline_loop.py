"""Pitfall 3: the trampoline of an fentry or fexit program resets the tail call count.

Loads a program whose subprogram tail-calls the program, and fentry and fexit programs for that subprogram. Observes how
often the program is entered while one of them or both trace the subprogram, and checks that the tracer really ran; if
it did not, the run is inconclusive.

arch_prepare_bpf_trampoline() of arch/x86/net/bpf_jit_comp.c decides: it overwrote rax, which holds the count, until
Linux kernel commit 2b5dcb31a19a ("bpf, x64: Fix tailcall infinite loop") (in v6.7). Beyond some 400 entries the stack
would overflow; the program stops itself long before that.

The program is the same on s390x, where a192103a1146 (in v6.6) decides.
"""

from __future__ import annotations

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import R1, R2, Program
from tailcall_audit.probes.kernel.bpf import Bpf, function_number
from tailcall_audit.probes.kernel.programs import HEALTHY, bound, chain, control, expect, return_value
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE", "traced"]


def tracer(kernel: Bpf, program: int, attach_type: int, hits: int, function: int = 1) -> int:
    """Loads a program that counts the calls of a function of another program, at its start (FENTRY) or its end
    (FEXIT).
    """
    code = Program().function("tracer").map_value(R1, hits).load(8, R2, R1, 0).alu(R2, "+", 1).store(8, R1, 0, R2)
    return kernel.load(
        bpf.TRACING,
        return_value(code),
        target=(program, function_number(function)),
        attach_type=attach_type,
        name="tracer",
    )


def traced(kernel: Bpf, kinds: tuple[int, ...], indirect: bool, calls: int = 1) -> int:
    """Returns how often a program is entered while tracers of these attach types trace its subprogram, which it calls
    `calls` times.
    """
    counters, array = kernel.array(), kernel.prog_array()
    program = chain(counters, array, through_subprogram=True, calls=calls, indirect=indirect)
    entry = expect(kernel, lambda: kernel.load(bpf.SOCKET_FILTER, program, name="traced"), "a program to trace")
    hits = [kernel.array() for _ in kinds]
    for kind, counter in zip(kinds, hits, strict=True):
        loaded = expect(kernel, bound(tracer, kernel, entry, kind, counter), "load of the tracer")
        expect(kernel, bound(kernel.attach, loaded, kind), "attaching the tracer")
    kernel.put(array, 0, entry)
    kernel.run(entry)
    entries = kernel.count(counters)
    seen = [kernel.count(counter) for counter in hits]
    # The last entry of a program that stopped itself makes no call. fexit sees no call that ends in a taken tail call.
    if not all(seen):
        raise InconclusiveError(
            f"the tracer was attached and not called ({entries} entries), so the trampoline was never in the way"
        )
    return entries


def _run(kernel: Bpf) -> Result:
    control(kernel, bpf.SOCKET_FILTER)
    seen = {}
    for indirect in (False, True):
        for kinds, name in (((bpf.FENTRY,), "fentry"), ((bpf.FEXIT,), "fexit"), ((bpf.FENTRY, bpf.FEXIT), "both")):
            seen[f"{name}, {'indirect' if indirect else 'direct'}"] = traced(kernel, kinds, indirect)
    wrong = {way: entries for way, entries in seen.items() if entries != HEALTHY}
    if wrong:
        counts = ", ".join(f"{entries} ({way})" for way, entries in wrong.items())
        return Result(PRESENT, f"a traced subprogram that tail-calls: {counts} entries instead of {HEALTHY}")
    return Result(ABSENT, f"a traced subprogram that tail-calls: {HEALTHY} entries, by fentry, by fexit and by both")


PROBE = Probe(
    "x86-trampoline-loop",
    "a socket filter that tail-calls itself from a subprogram, and fentry and fexit programs on that",
    _run,
    twins=(("s390x", "s390-trampoline-tcc"),),
)
