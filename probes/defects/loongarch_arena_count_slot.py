"""LoongArch: a program with an arena uses the value of its tail call count as the count's address.

Creates an arena: a kernel that has none cannot have the defect. In a guest, it then loads a program that uses an arena
and tail-calls itself. It is entered 34 times. With the defect, the address of the count is loaded from the wrong slot
of the stack, and the kernel oopses in the program. On a host, no program is loaded.

build_prologue() of arch/loongarch/net/bpf_jit.c decides: it saves the arena's register above the count and its address,
until Linux kernel commit cd7e356b07a2 ("LoongArch: BPF: Move arena register slot below TCC context") (in v7.3).
"""

from __future__ import annotations

import errno

from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import R2, Program
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.kernel.privileges import refusal_in_words
from tailcall_audit.probes.kernel.programs import HEALTHY, LIMIT, control, count_entry, expect, return_value, tail_call
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

__all__ = ["PROBE"]


def _entries(kernel: Bpf) -> int:
    counters, array, arena = kernel.array(), kernel.prog_array(), kernel.arena()
    program = count_entry(Program().function("entry"), counters, "leave").map_fd(R2, arena)
    entry = kernel.load(bpf.SOCKET_FILTER, return_value(tail_call(program, array), label="leave"), name="arena")
    kernel.put(array, 0, entry)
    kernel.run(entry)
    return kernel.count(counters)


def _without_arenas(kernel: Bpf) -> Result | None:
    """Returns the result for a kernel without arenas, None for one with them. Raises InconclusiveError if the kernel
    refuses an arena for another reason.
    """
    try:
        kernel.arena()
    except BpfError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return Result(ABSENT, f"cannot be reached: this kernel has no arenas ({error.words})", False)
        raise InconclusiveError(refusal_in_words(kernel, error)) from error
    return None


def _look_only(kernel: Bpf) -> Result:
    unreachable = _without_arenas(kernel)
    if unreachable is not None:
        return unreachable
    raise InconclusiveError("only a guest can show this: running a program with an arena may panic this kernel")


def _run(kernel: Bpf) -> Result:
    unreachable = _without_arenas(kernel)
    if unreachable is not None:
        return unreachable
    control(kernel, subprograms=False)
    what = "a program with an arena that tail-calls itself"
    entries = expect(kernel, lambda: _entries(kernel), what)
    if entries == HEALTHY:
        return Result(ABSENT, f"{what}: {HEALTHY} entries")
    if entries > LIMIT:
        return Result(PRESENT, f"{what}: {entries} entries instead of {HEALTHY}, where the program stops itself")
    raise InconclusiveError(f"{what}: {entries} entries, which the defect does not explain")


PROBE = Probe(
    "loongarch-arena-count-slot",
    "a socket filter with an arena that tail-calls itself",
    _run,
    hazard="panics the kernel where the defect is there",
    panics_in=("bpf_prog_arena",),
    safe=_look_only,
)
