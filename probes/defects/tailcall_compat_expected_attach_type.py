"""A prog_array accepts programs of one type that are meant for different hooks.

Loads a connect4 program that owns a prog_array. Observes whether a connect6 program, which may read fields that
connect4 does not have, may enter; another connect4 program must be allowed to enter.

bpf_prog_map_compatible() decides, since Linux kernel commit 4540aed51b12 ("bpf: Enforce expected_attach_type for
tailcall compatibility") (in v6.18, 6.12.53, 6.6.112, 6.1.156).
"""

from __future__ import annotations

from tailcall_audit.probes.defects.compatibility import must_enter, owner
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import Program
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.programs import expect, refusal_of_put, return_value
from tailcall_audit.probes.probe import ABSENT, PRESENT, Probe, Result

__all__ = ["PROBE"]


def _load(kernel: Bpf, attach_type: int) -> int:
    program = return_value(Program().function("connect"), 1)
    return kernel.load(bpf.CGROUP_SOCK_ADDR, program, attach_type=attach_type, name="connect")


def _run(kernel: Bpf) -> Result:
    array = kernel.prog_array()
    expect(
        kernel,
        lambda: owner(kernel, bpf.CGROUP_SOCK_ADDR, array, attach_type=bpf.INET4_CONNECT, returns=1),
        "a connect4 program that tail-calls",
    )
    must_enter(kernel, array, _load(kernel, bpf.INET4_CONNECT), "a connect4 program in a connect4 program's prog_array")
    refusal = refusal_of_put(kernel, array, _load(kernel, bpf.INET6_CONNECT), "a connect6 program")
    if refusal is None:
        return Result(PRESENT, "a connect6 program enters a connect4 program's prog_array")
    return Result(ABSENT, f"a connect6 program is refused by a connect4 program's prog_array ({refusal})")


PROBE = Probe("tailcall-compat-expected-attach-type", "connect4 and connect6 programs; none is attached", _run)
