"""Pitfall 2: the x86-64 JIT loads the tail call count from the wrong stack slot before a bpf2bpf call.

Loads a program A that fills its stack with a pattern and tail-calls B; B uses four bytes of stack, which is not a
multiple of eight, and calls a subprogram that tail-calls A. Observes how often A and B are entered. On an affected
kernel a pattern of zeros resets the count each time, so that only the probe's own limit ends the loop, and a pattern of
ones exceeds the limit at once. Also observes how often a program with four bytes of stack that tail-calls itself from a
subprogram is entered. Both are done with direct and indirect tail calls.

do_jit() decides: Linux kernel commit ff672c67ee76 ("bpf, x86: Fix tail call count offset calculation on bpf2bpf call")
(in v5.19) rounds the offset up as the prologue does; ebf7d1f508a7 (in v5.10) introduced the defect.
"""

from __future__ import annotations

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import FP, R1, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import (
    HEALTHY,
    bound,
    control,
    count_entry,
    expect,
    return_value,
    subprogram,
    tail_call,
)
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE"]

_FILLED = 256
"""Bytes of stack that hold the pattern: more than any offset at which the JIT could look for the count."""


def _pattern(kernel: Bpf, pattern: int, indirect: bool) -> int:
    counters, array = kernel.array(), kernel.prog_array(2)
    index = counters if indirect else None
    first = count_entry(Program().function("first"), counters, "leave")
    for offset in range(8, _FILLED + 8, 8):
        first.store_imm(8, FP, -offset, pattern)
    tail_call(first, array, 1)
    second = (
        count_entry(Program().function("second"), counters, "leave").store_imm(4, FP, -4, 0).mov(R1, R6).call("sub")
    )
    subprogram(return_value(second, label="leave"), array, index)
    entry = kernel.load(bpf.SOCKET_FILTER, return_value(first, label="leave"), name="first")
    kernel.put(array, 0, entry)
    kernel.put(array, 1, kernel.load(bpf.SOCKET_FILTER, second, name="second"))
    kernel.run(entry)
    return kernel.count(counters)


def _alone(kernel: Bpf, indirect: bool) -> int:
    counters, array = kernel.array(), kernel.prog_array()
    program = (
        count_entry(Program().function("entry"), counters, "leave").store_imm(4, FP, -4, 0).mov(R1, R6).call("sub")
    )
    subprogram(return_value(program, label="leave"), array, counters if indirect else None)
    entry = kernel.load(bpf.SOCKET_FILTER, program, name="entry")
    kernel.put(array, 0, entry)
    kernel.run(entry)
    return kernel.count(counters)


def _run(kernel: Bpf) -> Result:
    control(kernel)
    seen = {}
    what = "a caller with 4 bytes of stack"
    for indirect in (False, True):
        way = "indirect" if indirect else "direct"
        seen[f"{way}, above zeros"] = expect(kernel, bound(_pattern, kernel, 0, indirect), what)
        seen[f"{way}, above ones"] = expect(kernel, bound(_pattern, kernel, -1, indirect), what)
        seen[f"{way}, alone"] = expect(kernel, bound(_alone, kernel, indirect), what)
    wrong = {way: entries for way, entries in seen.items() if entries != HEALTHY}
    counts = ", ".join(f"{entries} ({way})" for way, entries in (wrong or seen).items())
    if wrong:
        return Result(PRESENT, f"a caller with 4 bytes of stack: {counts} entries instead of {HEALTHY}")
    return Result(ABSENT, f"a caller with 4 bytes of stack: {HEALTHY} entries whatever its stack held before")


PROBE = Probe("x86-count-offset", "socket filters that tail-call each other with stacks of 4 and 256 bytes", _run)
