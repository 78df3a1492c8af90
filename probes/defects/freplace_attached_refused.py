"""Pitfall 5, the refusal: a prog_array refuses a freplace program that is attached, although it accepted it before.

Loads a prog_array that an XDP program owns, and a freplace program of an XDP program. Puts the freplace program in,
attaches it and puts it in again: a refusal of the second put is the defect. An empty prog_array would not show it,
because the first program to enter decides which others may.

bpf_prog_map_compatible() decides: with f7866c358733 alone it takes the type of an attached freplace program as EXT;
Linux kernel commit fdad456cbcca ("bpf: Fix updating attached freplace prog in prog_array map") (in v6.11) uses
saved_dst_prog_type. Without f7866c358733 the second put panics (`freplace_attached_panic`), so this probe runs in a
guest only. Since the fix of pitfall 6 both puts are refused and the defect cannot be reached.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.freplace import (
    attach_extension,
    claim,
    extension_is_refused,
    extension_of,
    look_only,
    resolves_target_type,
)
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import expect, refusal_of_put
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE"]


def _run(kernel: Bpf) -> Result:
    refusal = extension_is_refused(kernel)
    if refusal is not None or resolves_target_type(kernel) is not None:
        return look_only(kernel)
    _, replacement = extension_of(kernel)
    array = expect(kernel, lambda: claim(kernel, bpf.XDP), "a prog_array owned by an XDP program")
    expect(kernel, lambda: kernel.put(array, 0, replacement), "control: a freplace program in it, not attached")
    expect(kernel, lambda: attach_extension(kernel, replacement), "attaching the freplace program")
    refused = refusal_of_put(kernel, array, replacement, "an attached freplace program in a prog_array")
    if refused is not None:
        return Result(PRESENT, f"a prog_array took a freplace program and refuses it once it is attached ({refused})")
    return Result(ABSENT, "a prog_array takes a freplace program before and after it is attached")


PROBE = Probe(
    "freplace-attached-refused",
    "an XDP program that owns a prog_array, and a freplace program that is put into it",
    _run,
    hazard="panics a kernel that has the other half of pitfall 5",
    safe=look_only,
)
