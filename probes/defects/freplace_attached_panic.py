"""Pitfall 5, the panic: the kernel oopses when an attached freplace program is put into a prog_array.

In a guest: loads a freplace program, attaches it and puts it into an empty prog_array. If resolve_prog_type() follows
prog->aux->dst_prog, which is NULL once the program is attached, the kernel oopses in bpf_prog_map_compatible(), called
from prog_fd_array_get_ptr().

On a host: tries the put with nothing attached. A refusal means that the fix of pitfall 6 refuses every freplace
program. If the put is accepted and the kernel has pitfall 1, the type is never resolved. In both cases the defect
cannot be reached. In all others only a guest can show it.

The defect needs 4a9c7bbe2ed4 (in v5.18) and 1c123c567fb1 (in v6.2, 6.1.4). Linux kernel commit f7866c358733 ("bpf: Fix
null pointer dereference in resolve_prog_type() for BPF_PROG_TYPE_EXT") (in v6.11) fixes it.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.freplace import attach_extension, extension_of, look_only
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import expect, refusal_of_put
from tailcall_audit.probes.probe import ABSENT, Probe, Result

__all__ = ["PROBE"]


def _run(kernel: Bpf) -> Result:
    _, replacement = extension_of(kernel)
    expect(kernel, lambda: attach_extension(kernel, replacement), "attaching the freplace program")
    array = kernel.prog_array()
    refusal = refusal_of_put(kernel, array, replacement, "an attached freplace program in a prog_array")
    if refusal is not None:
        return Result(ABSENT, f"an attached freplace program is refused by a prog_array, without an oops ({refusal})")
    return Result(ABSENT, "an attached freplace program is accepted by a prog_array, without an oops")


PROBE = Probe(
    "freplace-attached-panic",
    "an XDP program, and a freplace program for it that is put into a prog_array",
    _run,
    hazard="panics the kernel where the defect is there",
    panics_in=("bpf_prog_map_compatible", "__bpf_prog_map_compatible", "resolve_prog_type", "prog_fd_array_get_ptr"),
    safe=look_only,
)
