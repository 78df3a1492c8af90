"""The state at one instruction: registers and stack slots, and how calls and loops change what is known of them."""

from __future__ import annotations

from typing import NamedTuple

from tailcall_audit.analyzer.programs.arithmetic import SWAPPED, narrowed
from tailcall_audit.analyzer.programs.values import Frame, Number, Packet, Value, join

__all__ = ["FP", "State", "cross", "drop_packets", "forget_identities", "forget_written", "merge", "refine"]

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
    ours, theirs = known.registers, state.registers
    same_slots = known.slots == state.slots
    if same_slots and ours == theirs:
        return None
    registers = ours.copy()
    for number, one in enumerate(ours):
        two = theirs[number]
        value = one if one is two else join(one, two, widen, maybe)
        if type(value) is Number and value[0] is None:
            # From here on, the different values of the two ways count as one number with one identity.
            value = _new(Number, (-1 - (block * 16 + number), value[1], value[2], value[3]))
        registers[number] = value
    slots = known.slots if same_slots else _merged_slots(known.slots, state.slots, widen, maybe)
    if registers == ours and slots == known.slots:
        return None
    return State(registers, slots.copy() if same_slots else slots)


def _merged_slots(ours: Slots, theirs: Slots, widen: bool, maybe: bool) -> Slots:
    """Returns the slots that hold on both ways. A packet pointer that is stored on one way only is kept, too."""
    slots = {key: join(value, theirs[key], widen, maybe) for key, value in ours.items() if key in theirs}
    for mine, other in ((ours, theirs), (theirs, ours)):
        for key, value in mine.items():
            if key not in other and isinstance(value, Packet):
                slots[key] = value
    return slots


def refine(state: State, left: Value, operation: int, right: Value, narrow: bool) -> None:
    """Narrows a number and its copies, given that a comparison with a constant is true."""
    if isinstance(left, int) and isinstance(right, Number):
        left, right, operation = right, left, SWAPPED.get(operation, operation)
    if not isinstance(left, Number) or not isinstance(right, int) or left.identity is None:
        return
    found = narrowed(left, operation, right, narrow)
    if found is left:
        return
    registers, slots = state
    identity = left[0]
    for number, value in enumerate(registers):
        if type(value) is Number and value[0] == identity:
            registers[number] = found
    for key, value in slots.items():
        if type(value) is Number and value[0] == identity:
            slots[key] = found


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
    pointers = [value for value in given if isinstance(value, Frame)]
    if not pointers:
        return
    if follows:
        pointers += [value for value in state.slots.values() if isinstance(value, Frame)]
    if any(value.offset is None for value in pointers):
        state.slots.clear()
        return
    lowest = min(value.offset for value in pointers if value.offset is not None)
    for offset, size in list(state.slots):
        if offset + size > lowest:
            del state.slots[offset, size]


def cross(state: State, place: int) -> None:
    """Records a call in every packet pointer that is kept across it."""
    for number, value in enumerate(state.registers):
        if isinstance(value, Packet):
            state.registers[number] = Packet(value.crossed | {place})
    for key, value in state.slots.items():
        if isinstance(value, Packet):
            state.slots[key] = Packet(value.crossed | {place})


def drop_packets(state: State) -> None:
    """Forgets all packet pointers."""
    for number, value in enumerate(state.registers):
        if isinstance(value, Packet):
            state.registers[number] = Number(None)
    for key, value in list(state.slots.items()):
        if isinstance(value, Packet):
            del state.slots[key]
