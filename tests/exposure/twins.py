"""For each fact an object that meets it, and its harmless twin: one instruction, one map entry or one attribute apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tailcall_audit.analyzer.programs.types import Attachment, Program, ProgramSet
from tailcall_audit.probes.kernel.assembler import FP, R0
from tailcall_audit.probes.kernel.assembler import Program as Assembler
from tests.exposure.assembled import JMP, OTHER, array, assembled, made
from tests.exposure.shapes import (
    branching,
    callback,
    caller,
    divided,
    dynptr,
    extension,
    filled,
    handed,
    indexed,
    locked,
    packet,
    plain,
    replaceable,
    returned,
    tracer,
    with_call,
)

__all__ = ["TWINS", "Twins"]


class Twins(NamedTuple):
    """Two sets that differ in one thing: the first meets the fact in a closed world, the second does not. `name` is
    what they are."""

    name: str
    met: ProgramSet
    twin: ProgramSet


def _tracing(name: str, prototype: int, *, tail_calls: bool = False) -> Program:
    """An fentry program of a function of the kernel with this prototype."""
    hook = Attachment(f"function_{name}", None, None, f"BTF 1, type {prototype}")
    return plain(name, tail_calls=tail_calls, kind="tracing", attach="trace_fentry", attachment=hook)


def _of_cgroup(name: str, storages: tuple[str, ...] = (), *, tail_calls: bool = False, array: int = JMP) -> Program:
    return plain(name, tail_calls=tail_calls, array=array, kind="cgroup_skb", storages=storages)


def _between(second: tuple[str, ...]) -> ProgramSet:
    """Three programs of which each tail-calls the next; the last has this storage."""
    first = _of_cgroup("first", ("one",), tail_calls=True)
    middle = _of_cgroup("middle", tail_calls=True, array=OTHER)
    maps = (array({0: "middle"}), array({0: "last"}, name="other"))
    return made(first, middle, _of_cgroup("last", second), maps=maps)


def _entry(**more: Any) -> Program:
    return plain("entry", tail_calls=True, **more)


def _pair(first: Callable[..., Program], other: Program, same: Program) -> tuple[ProgramSet, ProgramSet]:
    slots: dict[int, str | None] = {0: "other"}
    return filled(first(), other, slots=slots), filled(first(), same, slots=slots)


_ATTACHED: dict[str, Any] = {"kind": "cgroup_sock_addr", "attach": "cgroup_inet4_connect"}
_EXTENSIONS = Twins(
    "an extension that tail-calls, or not",
    filled(replaceable(), extension()),
    filled(replaceable(), extension(tail_calls=False)),
)
TWINS: dict[str, Twins] = {
    "tail-call": Twins("with and without a tail call", filled(plain("entry", tail_calls=True)), filled(plain("entry"))),
    "tail-call-in-subprogram": Twins(
        "a tail call in the subprogram, or none", filled(caller()), filled(caller(tail_calls=False))
    ),
    "tail-call-that-is-taken": Twins(
        "a slot that holds a program, or none", filled(_entry()), filled(_entry(), slots={})
    ),
    "tail-call-that-fails": Twins(
        "an empty slot, or one with a program",
        filled(_entry(), plain(), slots={}),
        filled(_entry(), plain(), slots={0: "other"}),
    ),
    "tail-call-to-an-empty-slot": Twins(
        "an empty slot, or one with a program",
        filled(_entry(), plain(), slots={1: "other"}),
        filled(_entry(), plain(), slots={0: "other"}),
    ),
    "tail-call-with-constant-index": Twins(
        "an index in the array, or far outside", filled(_entry()), filled(_entry(key=9))
    ),
    "constant-tail-call-in-subprogram": Twins(
        "in the subprogram, or far outside of the array", filled(caller()), filled(caller(key=9))
    ),
    "constant-index-behind-the-end": Twins(
        "index 3 or 2 of 3 entries", filled(_entry(key=3), entries=3), filled(_entry(key=2), entries=3)
    ),
    "index-wider-than-32-bits": Twins("bit 32 of the index set, or not", filled(indexed(True)), filled(indexed(False))),
    "rewritten-in-front-of-a-constant-tail-call": Twins(
        "a division in front, or a subtraction", filled(divided(True)), filled(divided(False))
    ),
    "prog-array-that-is-updated": Twins("a slot that is filled, or not", filled(_entry()), filled(_entry(), slots={})),
    "large-prog-array": Twins(
        "a million entries, or a thousand", filled(_entry(), entries=1 << 20), filled(_entry(), entries=1000)
    ),
    "calls-a-subprogram": Twins("a call, or none", filled(caller()), filled(_entry())),
    "calls-in-a-tail-calling-function": Twins(
        "a call beside the tail call, or none", filled(with_call(True)), filled(with_call(False))
    ),
    "caller-stack-not-multiple-of-8": Twins("4 or 8 bytes of stack", filled(caller(stack=4)), filled(caller(stack=8))),
    "uses-what-a-tail-caller-returns": Twins(
        "adds what it returns, or nothing", filled(returned(True)), filled(returned(False))
    ),
    "stack-handed-to-a-tail-caller": Twins("the stack's address, or 0", filled(handed(True)), filled(handed(False))),
    "packet-pointer-across-a-call-of-a-tail-caller": Twins(
        "reads behind the call, or not", filled(packet("call")), filled(packet("call", reads=False))
    ),
    "packet-pointer-across-a-tail-call": Twins(
        "reads behind the tail call, or not", filled(packet("tail call")), filled(packet("tail call", reads=False))
    ),
    "callback-that-tail-calls": Twins(
        "a callback with and without a tail call", filled(callback(True, False)), filled(callback(False, False))
    ),
    "subprogram-of-a-callback-that-tail-calls": Twins(
        "its subprogram with and without", filled(callback(True, True)), filled(callback(False, True))
    ),
    "tail-call-with-preemption-off": Twins(
        "in or behind the section",
        filled(locked("bpf_preempt_disable", "bpf_preempt_enable", False)),
        filled(locked("bpf_preempt_disable", "bpf_preempt_enable", True)),
    ),
    "tail-call-in-an-rcu-section": Twins(
        "in or behind the section",
        filled(locked("bpf_rcu_read_lock", "bpf_rcu_read_unlock", False)),
        filled(locked("bpf_rcu_read_lock", "bpf_rcu_read_unlock", True)),
    ),
    "interpreted": Twins("interpreted, or compiled", filled(_entry(jited=False)), filled(_entry(jited=True))),
    "uses-an-arena": Twins(
        "an arena among its maps, or none",
        filled(_entry()._replace(uses_arena=True)),
        filled(_entry()._replace(uses_arena=False)),
    ),
    "tail-callee-without-a-frame": Twins(
        "a callee without and with stack",
        filled(_entry(), assembled(Assembler().function("other").set(R0, 0).exit()), slots={0: "other"}),
        filled(
            _entry(),
            assembled(Assembler().function("other").store_imm(8, FP, -8, 0).set(R0, 0).exit()),
            slots={0: "other"},
        ),
    ),
    "sibling-tail-calls-in-a-loop": Twins("two calls, or one", filled(caller(2)), filled(caller(1))),
    "subprogram-in-a-tail-call-loop": Twins(
        "a tail call back in the subprogram, or in the main function", filled(caller(1)), filled(_entry())
    ),
    "traced-subprogram-in-a-tail-call-loop": Twins(
        "a tracer of the subprogram, or of the main function",
        filled(caller(), tracer()),
        filled(caller(), tracer(function="entry")),
    ),
    "traced-subprogram-that-tail-calls": Twins(
        "a tracer of the subprogram, or of the main function",
        filled(caller(), tracer(), slots={}),
        filled(caller(), tracer(function="entry"), slots={}),
    ),
    "two-tracers-of-a-tail-calling-program": Twins(
        "two tracers, or one", filled(caller(), tracer("one"), tracer("two")), filled(caller(), tracer("one"))
    ),
    "extension-that-tail-calls-its-target": _EXTENSIONS,
    "extension-in-a-prog-array": Twins(
        "in a slot, or not",
        filled(
            _entry(kind="xdp"),
            replaceable("target"),
            extension(target="target", tail_calls=False),
            slots={0: "replacement"},
        ),
        filled(
            _entry(kind="xdp"), replaceable("target"), extension(target="target", tail_calls=False), slots={0: "target"}
        ),
    ),
    "extension-without-a-known-target": Twins(
        "loaded without a target, or with one",
        filled(dynptr(has_target=False)),
        filled(dynptr(has_target=True)),
    ),
    "shares-a-prog-array-across-hooks": Twins(
        "functions of two prototypes, or of one",
        *_pair(lambda: _tracing("entry", 5, tail_calls=True), _tracing("other", 6), _tracing("other", 5)),
    ),
    "shares-a-prog-array-across-kernel-hooks": Twins(
        "functions of the kernel, or of two programs",
        *_pair(
            lambda: _tracing("entry", 5, tail_calls=True),
            _tracing("other", 6),
            plain(
                "other",
                kind="tracing",
                attach="trace_fentry",
                attachment=Attachment(None, "elsewhere", "sub", "BTF 7, type 4"),
            ),
        ),
    ),
    "call-of-a-tail-caller": Twins(
        "a branch on what a subprogram returns that tail-calls, or does not",
        filled(branching(True)),
        filled(branching(False)),
    ),
    "extension-shares-a-prog-array": Twins(
        "an extension in the slot, or another program",
        *_pair(lambda: _entry(kind="xdp"), plain(kind="ext"), plain(kind="xdp")),
    ),
    "extension-shares-a-prog-array-with-another-type": Twins(
        "the target is of another type, or of the same",
        filled(
            replaceable("target", kind="sched_cls"),
            _entry(kind="xdp"),
            extension("other", target="target", tail_calls=False),
            slots={0: "other"},
        ),
        filled(
            replaceable("target", kind="xdp"),
            _entry(kind="xdp"),
            extension("other", target="target", tail_calls=False),
            slots={0: "other"},
        ),
    ),
    "replaced-program-in-a-prog-array": Twins(
        "the replaced program in a slot, or another one",
        filled(replaceable(), extension(), slots={0: "entry"}),
        filled(replaceable(), extension(), plain(kind="xdp"), slots={0: "other"}),
    ),
    "tail-calling-extension-of-a-program-that-keeps-the-packet": _EXTENSIONS,
    "shares-a-prog-array-with-another-type": Twins(
        "a TC program, or another XDP program",
        *_pair(lambda: _entry(kind="xdp"), plain(kind="sched_cls"), plain(kind="xdp")),
    ),
    "shares-a-prog-array-across-attach-types": Twins(
        "connect6, or connect4",
        *_pair(
            lambda: _entry(**_ATTACHED),
            plain(kind="cgroup_sock_addr", attach="cgroup_inet6_connect"),
            plain(**_ATTACHED),
        ),
    ),
    "shares-a-prog-array-across-sleepability": Twins(
        "a program that may sleep, or not",
        *_pair(lambda: _entry(kind="kprobe"), plain(kind="kprobe", sleepable=True), plain(kind="kprobe")),
    ),
    "shares-a-prog-array-across-cgroup-storages": Twins(
        "another storage, or the same",
        filled(_of_cgroup("entry", ("one",), tail_calls=True), _of_cgroup("other", ("two",)), slots={0: "other"}),
        filled(_of_cgroup("entry", ("one",), tail_calls=True), _of_cgroup("other", ("one",)), slots={0: "other"}),
    ),
    "storageless-tail-caller-in-a-prog-array-with-storage": Twins(
        "it tail-calls on, or not",
        filled(
            _of_cgroup("entry", ("one",), tail_calls=True), _of_cgroup("other", tail_calls=True), slots={0: "other"}
        ),
        filled(_of_cgroup("entry", ("one",), tail_calls=True), _of_cgroup("other"), slots={0: "other"}),
    ),
    "bridge-between-cgroup-storages": Twins(
        "another storage at the end, or the same", _between(("two",)), _between(("one",))
    ),
    "tracer-of-a-program-in-a-prog-array-of-its-type": Twins(
        "a tracer of a TC program in the slot, or of the kernel",
        filled(_entry(), replaceable("target", kind="sched_cls"), tracer("other", target="target"), slots={0: "other"}),
        filled(_entry(), replaceable("target", kind="sched_cls"), tracer("other", function=None), slots={0: "other"}),
    ),
}
"""By the name of the fact."""
