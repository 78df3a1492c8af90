"""Pitfall 6: a freplace program and a tail call make an endless loop.

Loads a program, and a freplace program for its subprogram that tail-calls the program: each round resets the count.
Observes how often the program is entered, or that the kernel refuses one of two steps: the put after the attach, or the
attach after the put. The defect is absent only if both are refused.

Linux kernel commit d6083f040d5d ("bpf: Prevent tailcall infinite loop caused by freplace") (in v6.13, 6.12.5, 6.1.191)
refuses both steps with EBUSY: prog_fd_array_get_ptr() the put, __bpf_trampoline_link_prog() the attach. With pitfall 1
(1c123c567fb1 is missing), the program cannot be put into the freplace program's prog_array, so the loop cannot be
built. Beyond 500 entries the stack would overflow; the programs stop themselves long before that.
"""

from __future__ import annotations

import errno

from tailcall_audit.probes.defects.freplace import attach_extension, extension, resolves_target_type, target
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.kernel.privileges import refusal_in_words
from tailcall_audit.probes.kernel.programs import HEALTHY, LIMIT, control, expect
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PROBE"]


def _build(kernel: Bpf, attach_first: bool) -> tuple[int | None, str]:
    """Builds the loop in one of the two orders. Returns the number of entries after a run, or None and the step that
    was refused.
    """
    counters, array = kernel.array(), kernel.prog_array()
    entry = expect(kernel, lambda: target(kernel, counters), "a program to replace a function of")
    replacement = expect(kernel, lambda: extension(kernel, entry, array), "a freplace program that tail-calls")
    steps: list[tuple[str, Callable[[], object]]] = [
        ("attach", lambda: attach_extension(kernel, replacement)),
        ("put", lambda: kernel.put(array, 0, entry)),
    ]
    for name, step in steps if attach_first else reversed(steps):
        try:
            step()
        except BpfError as error:
            if error.errno != errno.EBUSY:
                raise InconclusiveError(f"the {name}: {refusal_in_words(kernel, error)}") from error
            return None, name
    kernel.run(entry)
    return kernel.count(counters), ""


def _run(kernel: Bpf) -> Result:
    # Only the freplace program tail-calls here: an architecture without tail calls in subprograms may loop too.
    control(kernel, bpf.XDP, subprograms=False)
    refusal = resolves_target_type(kernel)
    if refusal is not None:
        return Result(ABSENT, f"cannot be built: pitfall 1 is in the way ({refusal})", False)
    put_refused, step = _build(kernel, attach_first=True)
    attach_refused, other = _build(kernel, attach_first=False)
    if (step, other) == ("put", "attach"):
        return Result(ABSENT, "refused with EBUSY in both orders: the put after the attach, the attach after the put")
    entries = max(put_refused or 0, attach_refused or 0)
    if entries > LIMIT:
        return Result(PRESENT, f"{entries} entries: only the program itself stopped, where {HEALTHY} is the limit")
    seen = f"attach first: {put_refused if put_refused is not None else step + ' refused'}; put first: {attach_refused if attach_refused is not None else other + ' refused'}"
    raise InconclusiveError(f"neither a loop nor both refusals ({seen})")


PROBE = Probe("freplace-loop", "an XDP program, and a freplace program of it that tail-calls it", _run)
