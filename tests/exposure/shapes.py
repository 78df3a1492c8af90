"""Small programs, written in instructions, and sets of them: each does one thing that a fact asks for, or does not."""

from __future__ import annotations

from typing import Any

from tailcall_audit.analyzer.programs.types import Attachment, Program, ProgramSet
from tailcall_audit.probes.kernel.assembler import FP, HELPER_TAIL_CALL, R0, R1, R2, R3, R4, R6, R7, R8
from tailcall_audit.probes.kernel.assembler import Program as Assembler
from tests.exposure.assembled import JMP, VALUES, array, assembled, entry, kfunc, leave, made, tail_call

_FOR_EACH = 164
_DATA, _DATA_END = 76, 80


def sub(code: Assembler, tail_calls: bool = True, key: int = 0) -> Assembler:
    """Adds the subprogram `sub`, which tail-calls or does nothing."""
    code.function("sub").mov(R6, R1)
    return leave(tail_call(code, key) if tail_calls else code)


def caller(
    calls: int = 1,
    *,
    tail_calls: bool = True,
    stack: int = 0,
    name: str = "entry",
    kind: str | None = "sched_cls",
    key: int = 0,
) -> Program:
    """A program that calls a subprogram so many times, which tail-calls."""
    code = entry(name)
    if stack:
        code.store_imm(4, FP, -stack, 0)
    for _ in range(calls):
        code.mov(R1, R6).call("sub")
    return assembled(sub(leave(code), tail_calls, key), kind=kind)


def plain(name: str = "other", *, tail_calls: bool = False, array: int = JMP, key: int = 0, **more: Any) -> Program:
    """A program without subprograms."""
    code = entry(name)
    return assembled(leave(tail_call(code, key, array) if tail_calls else code), **more)


def replaceable(name: str = "entry", kind: str = "xdp", static: bool = False) -> Program:
    """A program that calls a global function, which can be replaced."""
    code = leave(entry(name).mov(R1, R6).call("sub"))
    return assembled(sub(code, tail_calls=False), kind=kind, global_functions=() if static else ("sub",))


def extension(
    name: str = "replacement", *, tail_calls: bool = True, target: str | None = "entry", function: str = "sub"
) -> Program:
    """An extension of `sub` of a program of the set (None: not known of which program)."""
    attachment = Attachment(None, target, function)
    return plain(name, tail_calls=tail_calls, kind="ext", attachment=attachment)


def tracer(name: str = "tracer", *, target: str | None = "entry", function: str | None = "sub", **more: Any) -> Program:
    """An fentry program of `sub` of a program of the set."""
    found = Attachment(None, target, function) if function else Attachment("tcp_connect", None, None)
    return plain(name, kind="tracing", attach="trace_fentry", attachment=found, **more)


def filled(*programs: Program, slots: dict[int, str | None] | None = None, entries: int = 2) -> ProgramSet:
    """A set whose prog array holds these programs by their keys, and nothing else."""
    return made(*programs, maps=(array(slots if slots is not None else {0: "entry"}, entries=entries),))


def packet(behind: str, reads: bool = True) -> Program:
    """A TC program that checks a packet pointer, and reads by it behind the call of `sub`, or behind a tail call."""
    code = entry().load(4, R7, R6, _DATA).load(4, R8, R6, _DATA_END)
    code.mov(R2, R7).alu(R2, "+", 1).jump_if_reg(R2, ">", R8, "leave")
    if behind == "call":
        code.mov(R1, R6).call("sub")
    else:
        tail_call(code)
    if reads:
        code.load(1, R0, R7, 0)
    code.label("leave")
    leave(code)
    return assembled(sub(code) if behind == "call" else code)


def returned(uses: bool) -> Program:
    """A program that adds what `sub` returns to a pointer, or does not."""
    code = entry().mov(R1, R6).call("sub").map_value(R2, VALUES)
    if uses:
        code.alu_reg(R2, "+", R0)
    return assembled(sub(leave(code.load(1, R0, R2, 0))))


def handed(stack: bool) -> Program:
    """A program that hands `sub` a pointer into its stack, or a number."""
    code = entry().store_imm(8, FP, -8, 0).mov(R1, R6)
    if stack:
        code.mov(R2, FP)
    else:
        code.set(R2, 0)
    return assembled(sub(leave(code.call("sub"))))


def branching(tail_calls: bool) -> Program:
    """A program that branches on what `sub` returns, which is 0 wherever its tail call fails, or always."""
    code = entry().mov(R1, R6).call("sub").jump_if(R0, "==", 0, "leave").set(R0, 1).exit().label("leave")
    return assembled(sub(leave(code), tail_calls))


def callback(tail_calls: bool, through_subprogram: bool) -> Program:
    """A program with a callback that tail-calls, itself or in a subprogram."""
    code = entry().store(8, FP, -8, R1).map_fd(R1, VALUES).function_address(R2, "callback")
    leave(code.mov(R3, FP).alu(R3, "+", -8).set(R4, 0).helper(_FOR_EACH)).function("callback").load(8, R6, R4, 0)
    if through_subprogram:
        return assembled(sub(leave(code.mov(R1, R6).call("sub")), tail_calls))
    return assembled(leave(tail_call(code) if tail_calls else code))


def locked(take: str, give_back: str, early: bool) -> Program:
    """A program that tail-calls between what takes and gives back, or behind both."""
    code = kfunc(entry(), take)
    code = tail_call(kfunc(code, give_back)) if early else kfunc(tail_call(code), give_back)
    return assembled(leave(code))


def dynptr(has_target: bool) -> Program:
    """An extension that asks for a dynptr of the packet, loaded for a program that it extends or for none."""
    return assembled(leave(kfunc(entry(), "bpf_dynptr_from_skb")), kind="ext", has_target=has_target)


def divided(divides: bool) -> Program:
    """A program that divides by a register in front of a call whose subprogram tail-calls, or subtracts."""
    code = entry().set(R7, 8).set(R8, 2)
    if divides:
        code._add(0x3F, R7, R8)
    else:
        code.alu_reg(R7, "-", R8)
    return assembled(leave(tail_call(code)))


def indexed(register_wide: bool) -> Program:
    """A program that tail-calls with index 0, whose register has bits above the lower 32, or not."""
    code = entry().mov(R1, R6).map_fd(R2, JMP)
    code._add_wide(R3, 0, (1 << 32) if register_wide else 0)
    return assembled(leave(code.helper(HELPER_TAIL_CALL)))


def with_call(calls: bool) -> Program:
    """A program that tail-calls and calls a subprogram, or only one of the two."""
    code = entry()
    if calls:
        code.mov(R1, R6).call("sub")
    return assembled(sub(leave(tail_call(code)), tail_calls=False)) if calls else assembled(leave(tail_call(code)))
