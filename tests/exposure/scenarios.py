"""Programs that are loaded, put into prog arrays, attached and run: in a guest, and for exposure by a recorder.

The guest has the probes and this module only: it imports nothing else. Programs stop themselves (`LIMIT`).
"""

from __future__ import annotations

import struct

from tailcall_audit.probes.defects.compatibility import owner
from tailcall_audit.probes.defects.freplace import claim, extension, target
from tailcall_audit.probes.defects.tailcall_cgroup_storage_oob import storage, user
from tailcall_audit.probes.defects.tailcall_compat_attach_func_proto import _load as traces
from tailcall_audit.probes.defects.tailcall_direct_in_callback import _load as load_callback
from tailcall_audit.probes.defects.tailcall_failed_pkt_pointers import _load as reads_behind
from tailcall_audit.probes.defects.tailcall_pkt_pointers import _program as reads_packet
from tailcall_audit.probes.defects.tailcall_verifier_return_model import _program as adds_what_is_returned
from tailcall_audit.probes.defects.tailcall_via_callback_subprog import _FUNCTIONS as _BELOW
from tailcall_audit.probes.defects.tailcall_via_callback_subprog import _program as calls_back
from tailcall_audit.probes.defects.x86_trampoline_loop import tracer
from tailcall_audit.probes.kernel import bpf
from tailcall_audit.probes.kernel.assembler import FP, R0, R1, R2, R6, Program
from tailcall_audit.probes.kernel.bpf import Bpf, Function, function_number
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


def _hooks(kernel: Bpf, other: bool) -> int:
    """An fentry program tail-calls one for a function of another program, or for the same function."""
    first, second = target(kernel, kind=bpf.SCHED_CLS), target(kernel, kind=bpf.SCHED_CLS)
    array = kernel.prog_array()
    owner(kernel, bpf.TRACING, array, target=(first, function_number(1)), attach_type=bpf.FENTRY)
    kernel.put(array, 0, traces(kernel, second if other else first))
    return 1


def _storages(kernel: Bpf, size: int) -> int:
    """A cgroup program with a storage of 8 bytes tail-calls one with the same storage, or with another."""
    small, array = storage(kernel, 8), kernel.prog_array()
    user(kernel, small, array)
    kernel.put(array, 0, user(kernel, small if size == 8 else storage(kernel, size)))
    return 1


def _between(kernel: Bpf, bridges: bool) -> int:
    """A cgroup program without a storage is tail-called by one with a storage, and tail-calls one with another, or
    nothing.
    """
    first, second, other = kernel.prog_array(), kernel.prog_array(), storage(kernel, 64)
    user(kernel, storage(kernel, 8), first)
    user(kernel, other, second)
    code = Program().function("between").mov(R6, R1)
    if bridges:
        code.mov(R1, R6).call("sub")
    return_value(code, 1)
    if bridges:
        return_value(tail_call(code.function("sub").mov(R6, R1), second), 1)
    kernel.put(second, 0, user(kernel, other))
    kernel.put(first, 0, kernel.load(bpf.CGROUP_SKB, code, name="between"))
    return 1


def _sleepy(kernel: Bpf, flags: int) -> int:
    """A kprobe program that may not sleep tail-calls one that may, or not."""
    array = kernel.prog_array()
    owner(kernel, bpf.KPROBE, array, attach_type=0)
    kernel.put(
        array, 0, kernel.load(bpf.KPROBE, return_value(Program().function("callee")), flags=flags, name="callee")
    )
    return 1


def _in_callback(kernel: Bpf, tail_calls: bool) -> int:
    """A callback tail-calls, or does not."""
    return int(bool(load_callback(kernel, kernel.array(), kernel.prog_array() if tail_calls else None)))


def _below_callback(kernel: Bpf, tail_calls: bool) -> int:
    """A subprogram of a callback tail-calls, or does not."""
    code = calls_back(kernel.array(), kernel.prog_array() if tail_calls else None)
    return int(bool(kernel.load(bpf.SOCKET_FILTER, code, functions=_BELOW, name="entry")))


def _behind(kernel: Bpf, tail_calls: bool) -> int:
    """A packet pointer is used behind a tail call that was not taken, or without one."""
    return int(bool(reads_behind(kernel, kernel.prog_array() if tail_calls else None)))


def _kfunc(kernel: Bpf, name: str) -> int:
    """Returns the number of a kernel function in the kernel's BTF. The recorder has numbers of its own; a guest has no
    reader of BTF.
    """
    given = getattr(kernel, "kfunc", None)
    if given is not None:
        return int(given(name))
    with open("/sys/kernel/btf/vmlinux", "rb") as file:
        data = file.read()
    (length, types, size, strings) = struct.unpack_from("<IIII", data, 4)
    wanted = data.index(b"\0" + name.encode() + b"\0", length + strings) + 1 - length - strings
    words = memoryview(data[length + types : length + types + size]).cast("I")
    number, place = 0, 0
    while place < len(words):
        number += 1
        kind = words[place + 1] >> 24 & 31
        if kind == _FUNC and words[place] == wanted:
            return number
        place += 3 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * (words[place + 1] & 0xFFFF)
    return 0


_FUNC = 12
_FIXED = {1: 1, 3: 3, 14: 1, 17: 1}
_EACH = {4: 3, 5: 3, 6: 2, 13: 2, 15: 3, 19: 3}
"""Words that follow the three of a type in BTF: a fixed number, and a number for each of its members, by the kind."""


def _locked(kernel: Bpf, what: str, begin: str, end: str, inside: bool) -> int:
    """A tail call between two kernel functions that take and give back, or behind both."""
    array, take, give = kernel.prog_array(), _kfunc(kernel, begin), _kfunc(kernel, end)
    code = Program().function(what).mov(R6, R1)._add(0x85, src=2, imm=take)
    if not inside:
        code._add(0x85, src=2, imm=give)
    tail_call(code, array)
    if inside:
        code._add(0x85, src=2, imm=give)
    return int(bool(kernel.load(bpf.SCHED_CLS, return_value(code), name=what)))


_RCU = ("rcu", "bpf_rcu_read_lock", "bpf_rcu_read_unlock")
_PREEMPTION = ("preempt", "bpf_preempt_disable", "bpf_preempt_enable")


def _other_type(kernel: Bpf, tail_calls: bool) -> int:
    """An extension of an XDP program tail-calls into the array of a TC program, or does not."""
    array = claim(kernel, bpf.SCHED_CLS)
    return int(bool(extension(kernel, target(kernel), array if tail_calls else None)))


def _keeps_packet(kernel: Bpf, tail_calls: bool) -> int:
    """An extension of a TC program that moves no packet data tail-calls, or does not."""
    replaced = target(kernel, kind=bpf.SCHED_CLS)
    code = Program().function("replacement").mov(R6, R1)
    if tail_calls:
        tail_call(code, kernel.prog_array())
    functions, function = (Function("replacement", True),), (replaced, function_number(1))
    context = bpf.CONTEXTS[bpf.SCHED_CLS]
    code = return_value(code)
    return int(
        bool(kernel.load(bpf.EXT, code, functions=functions, context=context, target=function, name="extension"))
    )


def _aimless(kernel: Bpf, kind: int) -> int:
    """An extension program is loaded without the program that it extends; or a TC program is loaded."""
    functions, code = (Function("entry", True),), return_value(Program().function("entry"))
    return int(bool(kernel.load(kind, code, functions=functions, context="__sk_buff", name="entry")))


def _switch_jit(kernel: Bpf, value: str) -> None:
    """Switches the JIT of the guest on or off. The recorder has a switch of its own: no other machine is changed."""
    given = getattr(kernel, "switch_jit", None)
    if given is not None:
        given(value == "1")
        return
    with open("/proc/sys/net/core/bpf_jit_enable", "w", encoding="utf-8") as file:
        file.write(value)


def _interpreted(kernel: Bpf, in_subprogram: bool) -> int:
    """A program that the kernel interprets tail-calls in a subprogram, or itself."""
    counters, array = kernel.array(), kernel.prog_array()
    _switch_jit(kernel, "0")
    try:
        code = chain(counters, array, through_subprogram=in_subprogram)
        return int(bool(kernel.load(bpf.SOCKET_FILTER, code, name="entry")))
    finally:
        _switch_jit(kernel, "1")


def _branches(kernel: Bpf, tail_calls: bool) -> int:
    """A program counts where its subprogram does not return 0: where a tail call of it was taken. The verifier, which
    knows the failed one only, removes the way to it.
    """
    counters, array = kernel.array(), kernel.prog_array()
    code = Program().function("entry").mov(R6, R1).call("sub").jump_if(R0, "==", 0, "leave")
    code.map_value(R1, counters).load(8, R2, R1, 0).alu(R2, "+", 1).store(8, R1, 0, R2)
    subprogram(return_value(code, label="leave"), array if tail_calls else None)
    kernel.put(array, 0, kernel.load(bpf.SOCKET_FILTER, return_value(Program().function("seven"), 7), name="seven"))
    kernel.run(kernel.load(bpf.SOCKET_FILTER, code, name="entry"))
    return kernel.count(counters)


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
    "fentry programs of two functions": (
        "tailcall-compat-attach-func-proto",
        lambda kernel: _hooks(kernel, True),
        lambda kernel: _hooks(kernel, False),
    ),
    "two cgroup storages": (
        "tailcall-cgroup-storage-oob",
        lambda kernel: _storages(kernel, 64),
        lambda kernel: _storages(kernel, 8),
    ),
    "between two cgroup storages": (
        "tailcall-cgroup-storage-bridge",
        lambda kernel: _between(kernel, True),
        lambda kernel: _between(kernel, False),
    ),
    "a sleepable program": (
        "tailcall-sleepable-callee",
        lambda kernel: _sleepy(kernel, bpf.SLEEPABLE),
        lambda kernel: _sleepy(kernel, 0),
    ),
    "a callback": (
        "tailcall-direct-in-callback",
        lambda kernel: _in_callback(kernel, True),
        lambda kernel: _in_callback(kernel, False),
    ),
    "a subprogram of a callback": (
        "tailcall-via-callback-subprog",
        lambda kernel: _below_callback(kernel, True),
        lambda kernel: _below_callback(kernel, False),
    ),
    "behind a tail call": (
        "tailcall-pkt-pointers",
        lambda kernel: _behind(kernel, True),
        lambda kernel: _behind(kernel, False),
    ),
    "an RCU section": (
        "tailcall-locks-rcu-preempt",
        lambda kernel: _locked(kernel, *_RCU, True),
        lambda kernel: _locked(kernel, *_RCU, False),
    ),
    "preemption off": (
        "tailcall-locks-rcu-preempt",
        lambda kernel: _locked(kernel, *_PREEMPTION, True),
        lambda kernel: _locked(kernel, *_PREEMPTION, False),
    ),
    "an extension and another type": (
        "freplace-tailcallee",
        lambda kernel: _other_type(kernel, True),
        lambda kernel: _other_type(kernel, False),
    ),
    "an extension of what keeps the packet": (
        "tailcall-pkt-pointers",
        lambda kernel: _keeps_packet(kernel, True),
        lambda kernel: _keeps_packet(kernel, False),
    ),
    "an interpreted subprogram": (
        "interp-fallback-tailcall-subprog",
        lambda kernel: _interpreted(kernel, True),
        lambda kernel: _interpreted(kernel, False),
    ),
    "a branch on what is returned": (
        "tailcall-verifier-return-model",
        lambda kernel: _branches(kernel, True),
        lambda kernel: _branches(kernel, False),
    ),
    "an extension without a target": (
        "resolve-prog-type-null-deref-load",
        lambda kernel: _aimless(kernel, bpf.EXT),
        lambda kernel: _aimless(kernel, bpf.SCHED_CLS),
    ),
}
"""By name: the defect, what meets its condition or is refused by its fix, and its harmless twin."""
