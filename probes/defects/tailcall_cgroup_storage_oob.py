"""A prog_array accepts programs whose cgroup storage has another size than its owner's.

Loads a cgroup program with a local storage of 8 bytes that owns a prog_array. Observes whether a program with a storage
of 64 bytes may enter: tail-called from there, it would access memory beyond the owner's storage. A program with the
same storage must be allowed to enter. Nothing is attached or run.

__bpf_prog_map_compatible() decides, since Linux kernel commit abad3d0bad72 ("bpf: Fix oob access in cgroup local
storage") (in v6.17, 6.12.46, 6.6.105, 6.1.151, 5.15.192) compares the storages' cookies.
"""

from __future__ import annotations

from tailcall_audit.probes.defects.compatibility import must_enter
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import R1, R2, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import expect, refusal_of_put, return_value, tail_call
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE", "storage", "user"]

_HELPER_GET_LOCAL_STORAGE = 81


def storage(kernel: Bpf, size: int) -> int:
    """Makes a cgroup storage map. The kernel makes the storage itself when a program is attached. The key is a
    bpf_cgroup_storage_key.
    """
    return kernel.map(bpf.CGROUP_STORAGE, 16, size, 0)


def user(kernel: Bpf, storage_map: int, array: int | None = None) -> int:
    """Loads a cgroup program that uses a storage; with a prog_array it tail-calls into it."""
    program = (
        Program().function("user").mov(R6, R1).map_fd(R1, storage_map).set(R2, 0).helper(_HELPER_GET_LOCAL_STORAGE)
    )
    if array is not None:
        tail_call(program, array)
    return kernel.load(bpf.CGROUP_SKB, return_value(program, 1), name="user")


def _run(kernel: Bpf) -> Result:
    small = expect(kernel, lambda: storage(kernel, 8), "a cgroup storage")
    large = expect(kernel, lambda: storage(kernel, 64), "a cgroup storage")
    array = kernel.prog_array()
    expect(kernel, lambda: user(kernel, small, array), "a cgroup program with a storage that tail-calls")
    must_enter(kernel, array, user(kernel, small), "a program with the same storage in the prog_array")
    refusal = refusal_of_put(kernel, array, user(kernel, large), "a program with another storage")
    if refusal is None:
        return Result(PRESENT, "a program with a storage of 64 bytes enters the prog_array of one with 8 bytes")
    return Result(ABSENT, f"a program with another storage is refused by the prog_array ({refusal})")


PROBE = Probe("tailcall-cgroup-storage-oob", "cgroup programs with local storages; none is attached", _run)
