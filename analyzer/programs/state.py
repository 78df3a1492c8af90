"""The state at one instruction: registers and stack slots, and how calls and loops change what is known of them."""

from __future__ import annotations

from typing import NamedTuple

from tailcall_audit.analyzer.programs.arithmetic import SWAPPED, narrowed, negated
from tailcall_audit.analyzer.programs.values import Frame, Number, Packet, Value, join

__all__ = [
    "FP",
    "Slots",
    "State",
    "cross",
    "drop_packets",
    "forget_identities",
    "forget_written",
    "merge",
    "merge_into",
    "split",
]

FP = 10
"""The register that points to the stack."""


Slots = dict[tuple[int, int], Value]
"""The values in stack slots by offset and width, both in bytes."""
_new = tuple.__new__
"""Makes a named tuple without the check of its fields: there is one for each instruction."""


class State(NamedTuple):
    """The values of registers R0 to R10, and of stack slots by offset and width."""

    registers: list[Value]
    slots: Slots

    def copy(self) -> State:
        """Returns an independent copy."""
        return _new(State, (self[0].copy(), self[1].copy()))


def merge(block: int, known: State, state: State, widen: bool, maybe: bool) -> State | None:
    """Returns the state that holds on both ways into a block, None if this adds nothing to the known one.

    `widen` and `maybe` are those of `join`.
    """
    merged = known.copy()
    merge_into(block, merged, state, widen, maybe)
    return None if merged == known else merged


def merge_into(block: int, known: State, state: State, widen: bool, maybe: bool) -> None:
    """Changes the known state of a block into the one that holds on both ways into it."""
    ours, theirs = known[0], state[0]
    same_slots = known[1] == state[1]
    if same_slots and ours == theirs:
        return
    for number, (one, two) in enumerate(zip(ours, theirs, strict=True)):
        value = one
        if one is not two:
            value = join(one, two, widen, maybe)
        elif type(one) is not Number or one[0] is not None:
            continue
        if type(value) is Number and value[0] is None:
            # From here on, the different values of the two ways count as one number with one identity.
            value = _new(Number, (-1 - (block * 16 + number), value[1], value[2], value[3]))
        ours[number] = value
    if not same_slots:
        _merge_slots(known[1], state[1], widen, maybe)


def _merge_slots(ours: Slots, theirs: Slots, widen: bool, maybe: bool) -> None:
    """Keeps the slots that hold on both ways. A packet pointer that is stored on one way only is kept, too."""
    for key, value in list(ours.items()):
        if key in theirs:
            there = theirs[key]
            if value is not there:
                ours[key] = join(value, there, widen, maybe)
        elif type(value) is not Packet:
            del ours[key]
    for key, value in theirs.items():
        if type(value) is Packet and key not in ours:
            ours[key] = value


def split(state: State, left: Value, operation: int, right: Value, narrow: bool) -> tuple[State, State]:
    """Returns the states behind a comparison: where it is true and where it is false. In each, a number that is
    compared with a constant is narrowed, with its copies. The given state becomes the second one.
    """
    jumps = state.copy()
    if type(left) is int and type(right) is Number:
        left, right, operation = right, left, SWAPPED.get(operation, operation)
    if type(left) is not Number or type(right) is not int or left[0] is None:
        return jumps, state
    taken, not_taken = (narrowed(left, way, right, narrow) for way in (operation, negated(operation)))
    identity = left[0]
    registers = [place for place, value in enumerate(state[0]) if type(value) is Number and value[0] == identity]
    slots = [place for place, value in state[1].items() if type(value) is Number and value[0] == identity]
    for behind, value in ((jumps, taken), (state, not_taken)):
        if value is not left:
            for number in registers:
                behind[0][number] = value
            for key in slots:
                behind[1][key] = value
    return jumps, state


def forget_identities(state: State) -> None:
    """Drops the identities of all numbers: in the next iteration of a loop, an instruction produces a new number under
    the same identity.
    """
    for number, value in enumerate(state.registers):
        if type(value) is Number and value.identity is not None:
            state.registers[number] = value._replace(identity=None)
    for key, value in state.slots.items():
        if type(value) is Number and value.identity is not None:
            state.slots[key] = value._replace(identity=None)


def forget_written(state: State, given: tuple[Value, ...], follows: bool) -> None:
    """Forgets the stack slots that a call may write: those at or above a stack pointer that it gets. With `follows`,
    the call may also write through stack pointers that are stored in slots.
    """
    pointers = [value[0] for value in given if type(value) is Frame]
    if not pointers:
        return
    if follows:
        pointers += [value[0] for value in state.slots.values() if type(value) is Frame]
    known = [offset for offset in pointers if offset is not None]
    if len(known) < len(pointers):
        state.slots.clear()
        return
    lowest = min(known)
    for offset, size in list(state.slots):
        if offset + size > lowest:
            del state.slots[offset, size]


def cross(state: State, place: int) -> None:
    """Records a call in every packet pointer that is kept across it."""
    for number, value in enumerate(state.registers):
        if type(value) is Packet:
            state.registers[number] = Packet(value.crossed | {place})
    for key, value in state.slots.items():
        if type(value) is Packet:
            state.slots[key] = Packet(value.crossed | {place})


def drop_packets(state: State) -> None:
    """Forgets all packet pointers."""
    for number, value in enumerate(state.registers):
        if isinstance(value, Packet):
            state.registers[number] = Number(None)
    for key, value in list(state.slots.items()):
        if isinstance(value, Packet):
            del state.slots[key]
