"""Pitfall 1: the owner check of a prog_array does not give a freplace program the type of its target.

Loads two prog_arrays, one owned by an XDP and one by a TC program, and freplace programs of an XDP program that
tail-call into them. Observes whether the kernel accepts the one that tail-calls into the XDP program's prog_array; it
must refuse the other. Nothing is run or attached.

bpf_prog_map_compatible() decides (bpf_prog_array_compatible() before 5.18): it compared the type EXT, not the target's
type, until Linux kernel commit 1c123c567fb1 ("bpf: Resolve fext program type when checking map compatibility") (in
v6.2). A freplace program that is refused as a tail *callee* proves nothing: since Linux kernel commit d6083f040d5d (in
v6.13) that is always forbidden.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.freplace import resolves_target_type
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE"]


def _run(kernel: Bpf) -> Result:
    refusal = resolves_target_type(kernel)
    if refusal is not None:
        return Result(
            PRESENT,
            f"a freplace program of an XDP program may not tail-call into an XDP program's prog_array ({refusal})",
        )
    return Result(
        ABSENT,
        "a freplace program of an XDP program may tail-call into an XDP program's prog_array, and not into a TC program's",
    )


PROBE = Probe(
    "freplace-tailcallee",
    "XDP and TC programs that own prog_arrays, and freplace programs that tail-call into them",
    _run,
)
