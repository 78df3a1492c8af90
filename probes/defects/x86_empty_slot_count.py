"""A tail call to an empty slot counts towards the limit.

Loads a program that tail-calls an empty slot of a prog_array before it tail-calls itself. Observes how often it is
entered: 34 times if only tail calls that are taken count, 17 times if both count (33 tail calls are allowed, and every
entry uses two).

emit_bpf_tail_call_*() of arch/x86/net/bpf_jit_comp.c decide: Linux kernel commit 116e04ba1459 ("bpf, x64: Fix tailcall
hierarchy") (in v6.12) counts after the test of the slot. The program is the same on the other architectures, where
66ff4d61dc12 (arm64, in v6.12), e4094d56c559 (s390x, in v7.1), 0379d10f09bc (LoongArch, in v7.2), ec72848ca0ad (riscv64,
in v7.3) and 521bd39d9d28 (powerpc64, in v7.0) decide.
"""

from __future__ import annotations

import struct

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import HEALTHY, control, count_entry, expect, return_value, tail_call
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]

_COUNTED = 17
"""Entries if each of them uses two of 33 tail calls: the last one has no tail call left for itself."""
_SELF, _EMPTY = 0, 1


def _entries(kernel: Bpf, *, indirect: bool) -> int:
    counters, array = kernel.array(), kernel.prog_array(2)
    # An indirect tail call takes its index from its own map: a value of zero selects the program itself.
    own, empty = kernel.array(), kernel.array()
    kernel.write(empty, struct.pack("=QI", 0, _EMPTY).ljust(64, b"\0"))
    program = count_entry(Program().function("entry"), counters, "leave")
    tail_call(program, array, _EMPTY, empty if indirect else None)
    tail_call(program, array, _SELF, own if indirect else None)
    entry = kernel.load(bpf.SOCKET_FILTER, return_value(program, label="leave"), name="slots")
    kernel.put(array, _SELF, entry)
    kernel.run(entry)
    return kernel.count(counters)


def _run(kernel: Bpf) -> Result:
    control(kernel, subprograms=False)
    what = "a program that tail-calls an empty slot"
    seen = {
        "direct": expect(kernel, lambda: _entries(kernel, indirect=False), what),
        "indirect": expect(kernel, lambda: _entries(kernel, indirect=True), what),
    }
    counts = ", ".join(f"{entries} ({way})" for way, entries in seen.items())
    if set(seen.values()) == {HEALTHY}:
        return Result(ABSENT, f"{what} before itself: {HEALTHY} entries")
    if set(seen.values()) <= {HEALTHY, _COUNTED}:
        return Result(PRESENT, f"{what} before itself: {counts} entries instead of {HEALTHY}")
    raise InconclusiveError(f"{what} before itself: {counts} entries, which neither way of counting explains")


_TWINS = (
    ("arm64", "arm64-empty-slot-count"),
    ("s390x", "s390-empty-slot-count"),
    ("loongarch64", "loongarch-empty-slot-count"),
    ("riscv64", "riscv64-empty-slot-count"),
    ("powerpc64", "powerpc64-empty-slot-count"),
)
PROBE = Probe(
    "x86-empty-slot-count", "a socket filter that tail-calls an empty slot and then itself", _run, twins=_TWINS
)
