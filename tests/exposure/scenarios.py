"""Programs that are loaded, put into prog arrays, attached and run: in a guest, and for exposure by a recorder.

The guest has the probes and this module only: it imports nothing else. Programs stop themselves (`LIMIT`).
"""

from __future__ import annotations

from tailcall_audit.probes.defects.freplace import claim, extension, target
from tailcall_audit.probes.defects.tailcall_pkt_pointers import _program as reads_packet
from tailcall_audit.probes.defects.tailcall_verifier_return_model import _program as adds_what_is_returned
from tailcall_audit.probes.defects.x86_trampoline_loop import tracer
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.kernel.instructions import FP, R1, R6, Program
from tailcall_audit.probes.kernel.programs import chain, count_entry, load_simple, return_value, subprogram, tail_call

__all__ = ["SCENARIOS"]


def _calls(kernel: Bpf, calls: int) -> int:
    """Pitfall 4: a program that calls a subprogram so many times, which tail-calls the program."""
    counters, array = kernel.array(), kernel.prog_array()
    entry = kernel.load(bpf.SOCKET_FILTER, chain(counters, array, through_subprogram=True, calls=calls), name="entry")
    kernel.put(array, 0, entry)
    kernel.run(entry)
    return kernel.count(counters)


def _stack(kernel: Bpf, bytes_: int) -> int:
    """Pitfall 2: a caller with so many bytes of stack, entered by a program that leaves zeros where the count is looked
    for.
    """
    counters, array = kernel.array(), kernel.prog_array(2)
    first = count_entry(Program().function("first"), counters, "leave")
    for offset in range(8, 264, 8):
        first.store_imm(8, FP, -offset, 0)
    entry = kernel.load(bpf.SOCKET_FILTER, return_value(tail_call(first, array, 1), label="leave"), name="first")
    second = count_entry(Program().function("second"), counters, "leave").store_imm(4, FP, -bytes_, 0)
    subprogram(return_value(second.mov(R1, R6).call("sub"), label="leave"), array)
    kernel.put(array, 0, entry)
    kernel.put(array, 1, kernel.load(bpf.SOCKET_FILTER, second, name="second"))
    kernel.run(entry)
    return kernel.count(counters)


def _traced(kernel: Bpf, function: int) -> int:
    """Pitfall 3: a subprogram that tail-calls its program is traced (1), or the main function is (0)."""
    counters, array, hits = kernel.array(), kernel.prog_array(), kernel.array()
    entry = kernel.load(bpf.SOCKET_FILTER, chain(counters, array, through_subprogram=True), name="entry")
    kernel.attach(tracer(kernel, entry, bpf.FENTRY, hits, function), bpf.FENTRY)
    kernel.put(array, 0, entry)
    kernel.run(entry)
    return kernel.count(counters)


def _replaced(kernel: Bpf, tail_calls: bool) -> int:
    """Pitfall 6: an extension replaces a function of a program, and tail-calls it, or not."""
    counters, array = kernel.array(), kernel.prog_array()
    entry = target(kernel, counters)
    kernel.attach(extension(kernel, entry, array if tail_calls else None))
    kernel.put(array, 0, entry)
    kernel.run(entry)
    return kernel.count(counters)


def _owned(kernel: Bpf, own: bool) -> int:
    """Pitfall 1: an extension of an XDP program tail-calls into a prog array of an XDP program, or into its own."""
    array = kernel.prog_array() if own else claim(kernel, bpf.XDP)
    return int(bool(extension(kernel, target(kernel), array)))


def _packet(kernel: Bpf, tail_calls: bool) -> int:
    """A packet pointer is used behind the call of a subprogram that tail-calls, or does not."""
    code = reads_packet(kernel.prog_array() if tail_calls else None)
    return int(bool(kernel.load(bpf.SCHED_CLS, code, name="entry")))


def _returned(kernel: Bpf, tail_calls: bool) -> int:
    """What a subprogram returns that tail-calls, or does not, is an offset."""
    code = adds_what_is_returned(kernel.array(), kernel.prog_array() if tail_calls else None)
    return int(bool(kernel.load(bpf.SOCKET_FILTER, code, name="entry")))


def _attach_types(kernel: Bpf, other: int) -> int:
    """A connect4 program tail-calls a connect6 or another connect4 program."""
    array = kernel.prog_array()
    owner = return_value(tail_call(Program().function("owner").mov(R6, R1), array), 1)
    kernel.load(bpf.CGROUP_SOCK_ADDR, owner, attach_type=bpf.INET4_CONNECT, name="owner")
    member = return_value(Program().function("member"), 1)
    kernel.put(array, 0, kernel.load(bpf.CGROUP_SOCK_ADDR, member, attach_type=other, name="member"))
    return 1


def _extension_in_a_slot(kernel: Bpf, is_extension: bool) -> int:
    """An extension program, or another one, is put into the prog array of an XDP program."""
    array = claim(kernel, bpf.XDP)
    member = extension(kernel, target(kernel)) if is_extension else load_simple(kernel, bpf.XDP)
    kernel.put(array, 0, member)
    return 1


SCENARIOS = {
    "two calls": ("x86-hierarchy", lambda kernel: _calls(kernel, 2), lambda kernel: _calls(kernel, 1)),
    "4 bytes of stack": ("x86-count-offset", lambda kernel: _stack(kernel, 4), lambda kernel: _stack(kernel, 8)),
    "a traced subprogram": (
        "x86-trampoline-loop",
        lambda kernel: _traced(kernel, 1),
        lambda kernel: _traced(kernel, 0),
    ),
    "a replaced function": (
        "freplace-loop",
        lambda kernel: _replaced(kernel, True),
        lambda kernel: _replaced(kernel, False),
    ),
    "an extension in another's array": (
        "freplace-tailcallee",
        lambda kernel: _owned(kernel, False),
        lambda kernel: _owned(kernel, True),
    ),
    "a packet pointer": (
        "tailcall-pkt-pointers",
        lambda kernel: _packet(kernel, True),
        lambda kernel: _packet(kernel, False),
    ),
    "what is returned": (
        "tailcall-verifier-return-model",
        lambda kernel: _returned(kernel, True),
        lambda kernel: _returned(kernel, False),
    ),
    "connect4 and connect6": (
        "tailcall-compat-expected-attach-type",
        lambda kernel: _attach_types(kernel, bpf.INET6_CONNECT),
        lambda kernel: _attach_types(kernel, bpf.INET4_CONNECT),
    ),
    "an extension in a slot": (
        "freplace-loop",
        lambda kernel: _extension_in_a_slot(kernel, True),
        lambda kernel: _extension_in_a_slot(kernel, False),
    ),
}
"""By name: the defect, what meets its condition or is refused by its fix, and its harmless twin."""
