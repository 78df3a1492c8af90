"""LoongArch: a tail call uses all 64 bits of its index, not the lower 32.

Loads a program that tail-calls itself with an index whose upper half is not zero. BPF's index has 32 bits, so the tail
call is taken: the program is entered 34 times. It is entered once if the upper half counts, because no prog_array is
that large.

emit_bpf_tail_call() of arch/loongarch/net/bpf_jit.c decides: Linux kernel commit eb71f5c433e1 ("LoongArch: BPF:
Zero-extend bpf_tail_call() index") (in v6.19) extends the index.
"""

from __future__ import annotations

import struct

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL, R1, R2, R3, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import HEALTHY, control, count_entry, expect, return_value
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]

_INDEX = 1 << 32
"""Entry 0, with an upper half that is not zero."""


def _entries(kernel: Bpf) -> int:
    counters, array, index = kernel.array(), kernel.prog_array(), kernel.array()
    kernel.write(index, struct.pack("=Q", _INDEX).ljust(64, b"\0"))
    program = count_entry(Program().function("entry"), counters, "leave")
    program.map_value(R3, index).load(8, R3, R3, 0).mov(R1, R6).map_fd(R2, array).helper(HELPER_TAIL_CALL)
    entry = kernel.load(bpf.SOCKET_FILTER, return_value(program, label="leave"), name="wide")
    kernel.put(array, 0, entry)
    kernel.run(entry)
    return kernel.count(counters)


def _run(kernel: Bpf) -> Result:
    control(kernel, subprograms=False)
    what = "a tail call with an index of 2**32"
    entries = expect(kernel, lambda: _entries(kernel), what)
    if entries == HEALTHY:
        return Result(ABSENT, f"{what} goes to entry 0: {HEALTHY} entries")
    if entries == 1:
        return Result(PRESENT, f"{what} is not taken: one entry instead of {HEALTHY}")
    raise InconclusiveError(f"{what}: {entries} entries, which neither way explains")


PROBE = Probe("loongarch-tailcall-index-zext", "a socket filter that tail-calls itself with a wide index", _run)
