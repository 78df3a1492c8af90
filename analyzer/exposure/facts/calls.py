"""Facts about tail calls that follow from the code: where they are, their index, and the functions that lead to
them.
"""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.exposure.answers import met, not_met, possible, seen, strongest
from tailcall_audit.analyzer.exposure.code import Spot
from tailcall_audit.analyzer.exposure.facts.registry import named
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import Member, World
from tailcall_audit.analyzer.programs.types import Map

__all__: list[str] = []

_NO_TAIL_CALL = "it makes no tail call"
_NO_CONSTANT = "no tail call of it has a constant index into one prog array"
_ALIGNED = 8
"""Bytes: the stack of a function is rounded up to a multiple of this."""
_INDEX = 3
"""The register that holds a tail call's index."""
_LD_IMM64 = 0x18


def _place(member: Member, spot: Spot) -> Finding:
    where = member.place(spot.function, spot.call.instruction)
    return seen(spot.state, f"{spot.function.name}() makes a tail call", where)


@named("tail-call")
def _tail_call(_: World, member: Member) -> Finding:
    return strongest((_place(member, spot) for spot in member.code.spots()), _NO_TAIL_CALL)


@named("tail-call-in-subprogram")
def _tail_call_in_subprogram(_: World, member: Member) -> Finding:
    main = member.code.main
    return strongest(
        (_place(member, spot) for spot in member.code.spots() if spot.function is not main),
        "no subprogram of it makes a tail call",
    )


@named("calls-a-subprogram")
def _calls_a_subprogram(_: World, member: Member) -> Finding:
    return strongest(
        (
            seen(
                min(state, member.code.reached.get(site.callee, State.NOT_MET)),
                f"{function.name}() calls {site.callee}()",
                member.place(function, site.instruction),
            )
            for function, state in member.code.called()
            for site in function.calls
        ),
        "it calls no subprogram",
    )


def _constant(member: Member, spot: Spot) -> tuple[Map | None, int | None]:
    return member.map(spot.call.map), spot.call.key


def _direct(member: Member, in_subprogram: bool) -> Iterator[Finding]:
    """Yields the tail calls that a JIT turns into a direct jump, because the verifier knows the prog array and the
    index.
    """
    for spot, where in member.tail_calls:
        if in_subprogram and spot.function is member.code.main:
            continue
        array, key = _constant(member, spot)
        if (array is None or key is None) and (key is not None or spot.call.key_may_be_constant):
            yield possible(
                f"{spot.function.name}() makes a tail call whose prog array or index the verifier may know to be constant",
                where,
                settle="a constant of the source, or the log of the verifier",
            )
        elif array is not None and key is not None and not array.is_without(key):
            yield seen(spot.state, f"{spot.function.name}() tail-calls {array.name}[{key}], a constant index", where)


@named("tail-call-with-constant-index")
def _tail_call_with_constant_index(_: World, member: Member) -> Finding:
    return strongest(_direct(member, False), _NO_CONSTANT)


@named("constant-tail-call-in-subprogram")
def _constant_tail_call_in_subprogram(_: World, member: Member) -> Finding:
    return strongest(_direct(member, True), "no subprogram of it makes a tail call with a constant index")


def _accepted_by_tnum(entries: int) -> int:
    """Returns the largest index that tnum_in(tnum_range(0, entries - 1)) accepts: all bits of entries - 1 may
    be set.
    """
    return (1 << (entries - 1).bit_length()) - 1


@named("constant-index-behind-the-end")
def _constant_index_behind_the_end(_: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for spot, where in member.tail_calls:
            array, key = _constant(member, spot)
            name = spot.function.name
            entries = None if array is None else array.max_entries
            if array is None or entries is None or key is None:
                odd = entries is None or entries & (entries - 1)
                if odd and (key is not None or spot.call.key_may_be_constant):
                    yield possible(
                        f"{name}() makes a tail call whose index the verifier may know to be constant", where
                    )
            elif entries <= key <= _accepted_by_tnum(entries):
                yield seen(spot.state, f"{name}() tail-calls {array.name}[{key}], which has {entries} entries", where)

    return strongest(found(), "no tail call of it has a constant index just behind the end of its prog array")


@named("index-wider-than-32-bits")
def _index_wider_than_32_bits(_: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for spot, where in member.tail_calls:
            wide = _wide_constant(member, spot)
            if wide:
                yield seen(spot.state, f"{spot.function.name}() tail-calls with bits above the lower 32 set", where)
            elif wide is None:
                yield possible(f"{spot.function.name}() makes a tail call with an index that is not constant", where)

    return strongest(found(), "the index of each of its tail calls is a constant of 32 bits")


def _wide_constant(member: Member, spot: Spot) -> bool | None:
    """Returns True if the index is a constant with bits above the lower 32, None if it is not a constant."""
    insns = member.program.instructions
    for index in range(spot.call.instruction - 1, spot.function.start - 1, -1):
        insn = insns[index]
        if insn.code == _LD_IMM64 and insn.dst == _INDEX and insn.src == 0:
            return bool((insn.imm & 0xFFFFFFFFFFFFFFFF) >> 32)
        if insn.dst == _INDEX or insn.code & 7 in (5, 6):
            break
    return None if spot.call.key is None else spot.call.key >= 1 << 32


@named("caller-stack-not-multiple-of-8")
def _caller_stack_not_multiple_of_8(_: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for function, site, state in member.code.calls_of_tail_callers():
            where = member.place(function, site.instruction)
            calls = f"{function.name}() calls {site.callee}(), which makes a tail call"
            if function.stack is None:
                yield possible(f"{calls}, and how much stack it uses could not be decided", where)
            elif function.stack % _ALIGNED:
                yield seen(state, f"{calls}, and uses {function.stack} bytes of stack, no multiple of 8", where)

    return strongest(
        found(), "each caller of a subprogram that tail-calls has a stack of a multiple of 8 bytes, or none does"
    )


@named("interpreted")
def _interpreted(_: World, member: Member) -> Finding:
    jited = member.program.jited
    if jited is None:
        return possible(
            "the kernel may interpret it", settle="--jit where the kernel compiles programs (net.core.bpf_jit_enable)"
        )
    return not_met("the kernel compiled it") if jited else met("the kernel interprets it", member.place())


@named("uses-an-arena")
def _uses_an_arena(_: World, member: Member) -> Finding:
    uses = member.program.uses_arena
    if uses is None:
        return possible("which maps it uses could not be decided")
    return met("one of its maps is an arena", member.place()) if uses else not_met("none of its maps is an arena")
