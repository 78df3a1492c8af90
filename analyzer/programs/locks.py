"""Determines which locks are held at each tail call: RCU read sections, preemption, interrupts, spin locks.

The verifier requires that they are balanced at an exit, but before Linux 6.18 it did not at a tail call. Locks are
tracked through calls of static subprograms, which may take a lock and return with it held.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import Code, Refers
from tailcall_audit.analyzer.programs.flow import Graph, opcodes_of
from tailcall_audit.analyzer.programs.names import helper_number
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL

__all__ = ["Calls", "Held", "calls_in", "held_at_tail_calls"]

_RCU, _PREEMPT, _IRQ, _SPIN = NAMES = ("rcu", "preempt", "irq", "spin lock")
_KFUNCS = {
    "bpf_rcu_read_lock": {_RCU: 1},
    "bpf_rcu_read_unlock": {_RCU: -1},
    "bpf_preempt_disable": {_PREEMPT: 1},
    "bpf_preempt_enable": {_PREEMPT: -1},
    "bpf_local_irq_save": {_IRQ: 1},
    "bpf_local_irq_restore": {_IRQ: -1},
    "bpf_res_spin_lock": {_SPIN: 1},
    "bpf_res_spin_unlock": {_SPIN: -1},
    "bpf_res_spin_lock_irqsave": {_SPIN: 1, _IRQ: 1},
    "bpf_res_spin_unlock_irqrestore": {_SPIN: -1, _IRQ: -1},
}
_HELPERS = {helper_number("spin_lock"): {_SPIN: 1}, helper_number("spin_unlock"): {_SPIN: -1}}
_ANY_CALL = re.compile(rb"\x85")
_Counts = tuple[int | None, ...]
"""For each lock of `NAMES`, how many times it was taken since the function was entered; None if paths differ."""
_NOTHING: _Counts = (0, 0, 0, 0)
_UNKNOWN: _Counts = (None, None, None, None)
_MAX_ROUNDS = 16


class Calls(NamedTuple):
    """The calls in a function, by instruction: all of them, and the tail calls. `takes_locks` is True if one of them
    changes what is held, or may.
    """

    at: tuple[int, ...]
    tail: tuple[int, ...]
    takes_locks: bool


class Held(NamedTuple):
    """The lock counts of one function: at its tail calls and calls of subprograms, by instruction, and at its exits."""

    at: dict[int, _Counts]
    at_exit: _Counts


def _add(first: _Counts, second: _Counts) -> _Counts:
    return tuple(None if a is None or b is None else a + b for a, b in zip(first, second, strict=True))


def _join(first: _Counts, second: _Counts) -> _Counts:
    return tuple(a if a == b else None for a, b in zip(first, second, strict=True))


def _change(code: Code, place: int) -> _Counts:
    reference = code.references.get(place)
    if reference is not None and reference.kind is Refers.KFUNC and not reference.name:
        return _UNKNOWN
    if reference is not None and reference.kind is Refers.KFUNC:
        # A program may declare its own flavour of a kfunc, NAME___SUFFIX (bpf_core_essential_name_len()).
        change = _KFUNCS.get(reference.name.partition("___")[0], {})
    elif reference is not None and reference.kind is Refers.HELPER:
        change = _HELPERS.get(reference.target, {})
    elif reference is None and code.instructions[place].src == 0:
        change = _HELPERS.get(code.instructions[place].imm, {})
    else:
        return _NOTHING
    return tuple(change.get(name, 0) for name in NAMES)


def _within(code: Code, graph: Graph, calls: tuple[int, ...], exits: dict[int, _Counts]) -> Held:
    """Computes the lock counts of one function. `exits` has the counts at the exits of the functions that it calls."""
    states: dict[int, _Counts] = {0: _NOTHING}
    todo = [0]
    at: dict[int, _Counts] = {}
    at_exit: _Counts | None = None
    while todo:
        index = todo.pop()
        counts = states[index]
        block = graph.blocks[index]
        for place in calls[bisect_left(calls, block.start) : bisect_left(calls, block.end)]:
            at[place] = counts
            reference = code.references.get(place)
            if reference is not None and reference.kind is Refers.FUNCTION:
                counts = _add(counts, exits.get(reference.target, _UNKNOWN))
            else:
                counts = _add(counts, _change(code, place))
        if any(count is not None and abs(count) > _MAX_ROUNDS for count in counts):
            counts = _UNKNOWN  # a loop that takes a lock in each iteration
        if not block.after:
            at_exit = counts if at_exit is None else _join(at_exit, counts)
        for follower in block.after:
            known = states.get(follower)
            merged = counts if known is None else _join(known, counts)
            if merged != known:
                states[follower] = merged
                todo.append(follower)
    return Held(at, _NOTHING if at_exit is None else at_exit)


def calls_in(code: Code) -> Calls:
    """Returns the calls in a function."""
    at = tuple([match.start() for match in _ANY_CALL.finditer(opcodes_of(code.instructions))])
    tail = tuple([place for place in at if _is_tail_call(code, place)])
    return Calls(at, tail, any(_change(code, place) != _NOTHING for place in at))


def held_at_tail_calls(
    codes: dict[int, Code],
    graphs: dict[int, Graph],
    calls: dict[int, Calls],
    order: tuple[int, ...],
    called: frozenset[int],
) -> dict[int, dict[int, frozenset[str] | None]]:
    """Returns the names of the locks held at every tail call, by function and instruction; None if paths differ.

    `order` has each function before those that it calls, the main program first. `called` are the functions that are
    called directly; the locks held in functions that only helpers call are unknown.
    """
    if not any(calls[number].tail for number in order):
        return {number: {} for number in order}
    if not any(calls[number].takes_locks for number in order):
        return {number: dict.fromkeys(calls[number].tail, frozenset()) for number in order}
    exits: dict[int, _Counts] = {}
    within: dict[int, Held] = {}
    for number in reversed(order):
        within[number] = _within(codes[number], graphs[number], calls[number].at, exits)
        exits[number] = within[number].at_exit
    entered: dict[int, _Counts] = {order[0]: _NOTHING}
    for number in order:
        entry = entered.get(number, _UNKNOWN if number not in called else _NOTHING)
        for place, counts in within[number].at.items():
            reference = codes[number].references.get(place)
            if reference is not None and reference.kind is Refers.FUNCTION:
                there = _add(entry, counts)
                known = entered.get(reference.target)
                entered[reference.target] = there if known is None else _join(known, there)
    found: dict[int, dict[int, frozenset[str] | None]] = {}
    for number in order:
        entry = entered.get(number, _UNKNOWN)
        found[number] = {}
        for place in calls[number].tail:
            counts = _add(entry, within[number].at.get(place, _UNKNOWN))
            names = frozenset(name for name, count in zip(NAMES, counts, strict=True) if count)
            found[number][place] = None if None in counts else names
    return found


def _is_tail_call(code: Code, place: int) -> bool:
    reference = code.references.get(place)
    if reference is not None:
        return reference.kind is Refers.HELPER and reference.target == HELPER_TAIL_CALL
    insn = code.instructions[place]
    return insn.src == 0 and insn.imm == HELPER_TAIL_CALL
