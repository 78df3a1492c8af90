"""Facts about what the verifier must know at a tail call: values used after it, locks held, and callbacks that
make it.
"""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.exposure.answers import met, possible, seen, strongest
from tailcall_audit.analyzer.exposure.facts.registry import named
from tailcall_audit.analyzer.exposure.flow import FP
from tailcall_audit.analyzer.exposure.types import Finding, State
from tailcall_audit.analyzer.exposure.world import EXTENSION, LOOK_AT_ATTACHED, TRACING, Member, World
from tailcall_audit.analyzer.programs.arithmetic import COMPARISONS
from tailcall_audit.analyzer.programs.types import CallSite, Function
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL

__all__: list[str] = []

_ADD, _SUB, _REGISTER = 0x00, 0x10, 0x08
_ALU64, _LDX, _STX, _JMP, _JMP32 = 7, 1, 3, 5, 6
_MOV = 0xBF
_LD_IMM64, _CALL = 0x18, 0x85
_CALLER_SAVED, _ARGUMENTS = frozenset(range(6)), frozenset(range(1, 6))
_PREEMPT, _RCU = "preempt", "rcu"
_GIVEN = "another program's extension may replace it and tail-call"


def _open_to_extensions(world: World, member: Member, name: str) -> bool:
    """Returns True if an unknown extension program can replace a function and make a tail call in its place."""
    function = member.code.functions.get(name)
    extended = member.program.type not in (EXTENSION, TRACING)
    return not world.closed and extended and function is not None and function.is_global is not False


def _calls(world: World, member: Member) -> Iterator[tuple[Function, CallSite, State, str]]:
    """Yields the calls of subprograms that make a tail call, directly or in a function that they call, or may once one
    of these is replaced.
    """
    for function, reached in member.code.called():
        for site in function.calls:
            tail_calls = member.code.tail_calling.get(site.callee)
            below = (name for name in member.code.below(site.callee) if _open_to_extensions(world, member, name))
            if tail_calls is not None:
                state = min(reached, tail_calls)
                yield function, site, state, f"{function.name}() calls {site.callee}(), which makes a tail call"
            elif any(below):
                yield function, site, State.POSSIBLE, f"{function.name}() calls {site.callee}(): {_GIVEN}"


@named("packet-pointer-across-a-call-of-a-tail-caller")
def _packet_pointer_across_a_call_of_a_tail_caller(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for function, site, state, words in _calls(world, member):
            where = member.place(function, site.instruction)
            if function.packet_across_calls is None:
                yield possible(f"{words}, and a packet pointer may be used behind it", where)
            elif site.instruction in function.packet_across_calls:
                text = f"{words}, and uses a packet pointer from before it"
                yield (
                    met(text, where)
                    if state is State.MET
                    else possible(text, where, settle=world.settled_by(LOOK_AT_ATTACHED))
                )

    return strongest(found(), "it uses no packet pointer behind the call of a subprogram that may tail-call")


@named("packet-pointer-across-a-tail-call")
def _packet_pointer_across_a_tail_call(_: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for spot, where in member.tail_calls:
            text = f"{spot.function.name}() uses a packet pointer behind a tail call that was not taken"
            if spot.function.packet_across_calls is None:
                yield possible(f"{text}, if so", where)
            elif spot.call.instruction in spot.function.packet_across_calls:
                yield seen(spot.state, text, where)

    return strongest(found(), "it uses no packet pointer behind a tail call")


def _is_offset(member: Member, index: int, register: int) -> bool:
    """Returns True if an instruction adds a register to another one, which is then taken for an offset."""
    insn = member.program.instructions[index]
    adds = insn.code & 7 == _ALU64 and insn.code & 0xF0 in (_ADD, _SUB) and insn.code & _REGISTER
    return bool(adds) and insn.src == register


@named("uses-what-a-tail-caller-returns")
def _uses_what_a_tail_caller_returns(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for function, site, state, words in _calls(world, member):
            where = member.place(function, site.instruction)
            used = member.code.flow.used_behind(site.instruction, function, 0)
            offsets = [index for index in used if _is_offset(member, index, 0)]
            if offsets and state is State.MET:
                text = f"{words}, and adds what it returns to another value without a check"
                yield met(text, where, member.place(function, offsets[0]))
            elif used:
                yield possible(f"{words}, and uses what it returns", where, member.place(function, used[0]))

    return strongest(found(), "it uses nothing that a subprogram returns which may tail-call")


def _decided_by(member: Member, function: Function, site: CallSite) -> int | None:
    """Returns a branch behind a call whose way the verifier decides by what the subprogram returns where its tail call
    fails: one constant, which the verifier knows of a static function. It removes the other way.
    """
    callee = member.code.functions.get(site.callee)
    if callee is None or callee.is_global is not False or callee.returned is None:
        return None
    for index in member.code.flow.used_behind(site.instruction, function, 0):
        insn = member.program.instructions[index]
        compares = insn.code & 7 in (_JMP, _JMP32) and insn.code & 0xF0 in COMPARISONS and not insn.code & _REGISTER
        if compares and insn.dst == 0:
            return index
    return None


@named("call-of-a-tail-caller")
def _call_of_a_tail_caller(world: World, member: Member) -> Finding:
    """After such a call, the verifier knows only what holds on the path where the tail call failed."""

    def found() -> Iterator[Finding]:
        for function, site, state, words in _calls(world, member):
            place = member.place(function, site.instruction)
            branch = _decided_by(member, function, site)
            if branch is not None and state is State.MET:
                returned = member.code.functions[site.callee].returned
                text = f"{words}, and branches on what it returns, which the verifier takes for {returned}"
                yield met(text, place, member.place(function, branch))
            else:
                yield possible(f"{words}: what the verifier knows behind it is from the call that was not taken", place)

    return strongest(found(), "it calls no subprogram that may tail-call")


def _stack_pointers(member: Member, function: Function) -> dict[int, frozenset[int]]:
    """Returns the registers that hold a pointer into the stack directly before each call of a function, by its
    instruction. Jumps are not followed. The result is empty if the function takes no pointer into its stack.
    """
    insns = member.program.instructions[function.start : function.end]
    if not any(insn.code == _MOV and insn.src == FP for insn in insns):
        return {}
    held: set[int] = set()
    found: dict[int, frozenset[int]] = {}
    for index, insn in enumerate(insns, function.start):
        code = insn.code
        if code == _MOV:
            (held.add if insn.src == FP or insn.src in held else held.discard)(insn.dst)
        elif code & 7 == _LDX or code == _LD_IMM64:
            held.discard(insn.dst)
        elif code == _CALL:
            found[index] = frozenset(held)
            held -= _CALLER_SAVED
    return found


@named("stack-handed-to-a-tail-caller")
def _stack_handed_to_a_tail_caller(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        pointers: dict[str, dict[int, frozenset[int]]] = {}
        for function, site, state, words in _calls(world, member):
            if function.name not in pointers:
                pointers[function.name] = _stack_pointers(member, function)
            held = pointers[function.name].get(site.instruction)
            if held is None:
                continue
            where = member.place(function, site.instruction)
            if held & _ARGUMENTS and state is State.MET:
                yield met(f"{words} and gets a pointer into the caller's stack", where)
            else:
                yield possible(f"{words} and may get a pointer into the caller's stack", where)

    return strongest(found(), "it hands no pointer into its stack to a subprogram that may tail-call")


def _callbacks(member: Member) -> Iterator[tuple[Function, str, int, State]]:
    """Yields the callbacks that a helper calls: the function that passes it, its name, the instruction, and how sure it
    is.
    """
    for function, reached in member.code.called():
        for site in function.callbacks:
            if site.callee in member.code.functions:
                yield function, site.callee, site.instruction, min(reached, member.code.reached[site.callee])


@named("callback-that-tail-calls")
def _callback_that_tail_calls(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for function, name, instruction, state in _callbacks(member):
            where = member.place(function, instruction)
            for call in member.code.functions[name].tail_calls:
                place = member.place(member.code.functions[name], call.instruction)
                yield seen(state, f"the callback {name}() makes a tail call", where, place)

    return strongest(found(), "no callback of it makes a tail call itself")


@named("subprogram-of-a-callback-that-tail-calls")
def _subprogram_of_a_callback_that_tail_calls(world: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for function, name, instruction, state in _callbacks(member):
            where = member.place(function, instruction)
            for below in sorted(member.code.below(name) - {name}):
                called = member.code.functions[below]
                for call in called.tail_calls:
                    place = member.place(called, call.instruction)
                    yield seen(state, f"the callback {name}() calls {below}(), which makes a tail call", where, place)
                if not called.tail_calls and _open_to_extensions(world, member, below):
                    text = f"the callback {name}() calls {below}(): {_GIVEN}"
                    yield possible(text, where, settle=world.settled_by(LOOK_AT_ATTACHED))

    return strongest(found(), "no subprogram that tail-calls is called below a callback of it")


def _under(member: Member, lock: str) -> Iterator[Finding]:
    for spot, where in member.tail_calls:
        if spot.call.locks is None:
            yield possible(f"what is held when {spot.function.name}() makes a tail call could not be decided", where)
        elif lock in spot.call.locks:
            yield seen(spot.state, f"{spot.function.name}() makes a tail call with a lock held ({lock})", where)


@named("tail-call-with-preemption-off")
def _tail_call_with_preemption_off(_: World, member: Member) -> Finding:
    return strongest(_under(member, _PREEMPT), "it makes no tail call with preemption off")


@named("tail-call-in-an-rcu-section")
def _tail_call_in_an_rcu_section(_: World, member: Member) -> Finding:
    return strongest(_under(member, _RCU), "it makes no tail call in an RCU read section")


@named("rewritten-in-front-of-a-constant-tail-call")
def _rewritten_in_front_of_a_constant_tail_call(_: World, member: Member) -> Finding:
    """The verifier replaces some instructions by several: divisions by a register always, loads and calls sometimes."""

    def found() -> Iterator[Finding]:
        # The first one of each kind decides about all tail calls behind it.
        functions, end = member.program.functions, len(member.program.instructions)
        division = min((item.division for item in functions if item.division is not None), default=end)
        other = min((item.rewritable for item in functions if item.rewritable is not None), default=end)
        for spot, where in member.tail_calls:
            array, key = member.map(spot.call.map), spot.call.key
            if array is not None and array.is_without(key):
                continue
            if key is None and not spot.call.key_may_be_constant:
                continue
            if division < spot.call.instruction and array is not None and key is not None:
                text = "a division in front of a constant tail call, which the verifier rewrites"
                yield seen(spot.state, text, where)
            elif other < spot.call.instruction:
                text = "a load or call in front of a tail call, which the verifier may rewrite"
                yield possible(text, where, settle="bpftool prog dump xlated")

    return strongest(found(), "nothing in front of a constant tail call is rewritten by the verifier")


@named("calls-in-a-tail-calling-function")
def _calls_in_a_tail_calling_function(_: World, member: Member) -> Finding:
    def found() -> Iterator[Finding]:
        for spot, where in member.tail_calls:
            if spot.function.calls:
                yield seen(spot.state, f"{spot.function.name}() makes a tail call and calls a subprogram", where)
            elif any(item.helper != HELPER_TAIL_CALL for item in spot.function.helpers) or spot.function.callbacks:
                yield possible(f"{spot.function.name}() makes a tail call and calls a helper", where)

    return strongest(found(), "no function of it makes a tail call and another call")
