"""A program without cgroup storage bridges a chain of tail calls to one with another storage.

Loads a cgroup program with a storage that owns a prog_array. Observes whether a program that has no storage and
tail-calls on may enter: what it calls could use another storage. One that has no storage and makes no tail calls must.

__bpf_prog_map_compatible() decides, since Linux kernel commit 10627ddc0167 ("bpf: Tighten cgroup storage cookie checks
for prog arrays") (in v7.2, 6.12.97, 6.1.178). The program tail-calls from a subprogram, which is what sets
aux->tail_call_reachable on kernels without 01793ed86b5d too, and itself. Where storages are not compared at all
(`tailcall_cgroup_storage_oob`), there is nothing to bridge.
"""

from __future__ import annotations

from functools import partial

from tailcall_audit.probes.defects.compatibility import must_enter
from tailcall_audit.probes.defects.tailcall_cgroup_storage_oob import storage, user
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.instructions import R1, R6, Program
from tailcall_audit.probes.kernel.programs import expect, load_simple, refusal_of_put, return_value, tail_call
from tailcall_audit.probes.probe import ABSENT, PRESENT, InconclusiveError, Probe, Result, UnreachableError

__all__ = ["PROBE"]


def _bridge(kernel: Bpf, through_subprogram: bool) -> int:
    array = kernel.prog_array()
    program = Program().function("bridge").mov(R6, R1)
    if through_subprogram:
        return_value(program.mov(R1, R6).call("sub"), 1).function("sub").mov(R6, R1)
    return kernel.load(bpf.CGROUP_SKB, return_value(tail_call(program, array), 1), name="bridge")


def _run(kernel: Bpf) -> Result:
    first = expect(kernel, lambda: storage(kernel, 8), "a cgroup storage")
    array = kernel.prog_array()
    expect(kernel, lambda: user(kernel, first, array), "a cgroup program with a storage that tail-calls")
    if refusal_of_put(kernel, array, user(kernel, storage(kernel, 64)), "a program with another storage") is None:
        raise InconclusiveError(
            "storages are not compared at all here (tailcall-cgroup-storage-oob), so there is nothing to bridge"
        )
    must_enter(kernel, array, load_simple(kernel, bpf.CGROUP_SKB), "a program without a storage in the prog_array")
    refusals = []
    for through, what in ((True, "from a subprogram"), (False, "itself")):
        try:
            bridge = expect(
                kernel, partial(_bridge, kernel, through), f"a program without a storage that tail-calls {what}"
            )
        except UnreachableError:
            # Without tail calls in subprograms the other way is the only one.
            continue
        refusal = refusal_of_put(kernel, array, bridge, f"a program without a storage that tail-calls {what}")
        if refusal is None:
            return Result(
                PRESENT,
                f"a program without a storage that tail-calls {what} enters the prog_array of one with a storage",
            )
        refusals.append(refusal)
    return Result(ABSENT, f"a program without a storage that tail-calls is refused by the prog_array ({refusals[-1]})")


PROBE = Probe(
    "tailcall-cgroup-storage-bridge", "cgroup programs with and without local storages; none is attached", _run
)
