"""A program without cgroup storage links two programs with different storages in one chain of tail calls.

Loads a cgroup program with a storage that owns a prog_array. Observes whether a program without a storage that makes
tail calls itself may enter: the program that it calls could use another storage. A program without a storage and
without tail calls must be allowed to enter.

__bpf_prog_map_compatible() decides, since Linux kernel commit 10627ddc0167 ("bpf: Tighten cgroup storage cookie checks
for prog arrays") (in v7.2, 6.12.97, 6.1.178). The program is loaded in two forms: it tail-calls from a subprogram,
which sets aux->tail_call_reachable even on kernels without 01793ed86b5d, or directly. The probe is inconclusive on
kernels that do not compare storages at all (`tailcall_cgroup_storage_oob`).
"""

from __future__ import annotations

from tailcall_audit.probes.defects.compatibility import must_enter
from tailcall_audit.probes.defects.tailcall_cgroup_storage_oob import storage, user
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import R1, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import bound, expect, load_simple, refusal_of_put, return_value, tail_call
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
                kernel, bound(_bridge, kernel, through), f"a program without a storage that tail-calls {what}"
            )
        except UnreachableError:
            # The architecture has no tail calls in subprograms: only the direct form is left.
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
