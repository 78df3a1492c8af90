"""What is known at one instruction: registers and stack slots, and what calls and loops take from that."""

from __future__ import annotations

from typing import NamedTuple

from tailcall_audit.analyzer.programs.arithmetic import SWAPPED, narrowed
from tailcall_audit.analyzer.programs.values import Frame, Number, Packet, Value

__all__ = ["FP", "State", "cross", "drop_packets", "forget_identities", "forget_written", "refine"]

FP = 10
"""The register that points to the stack."""


class State(NamedTuple):
    """Registers R0 to R10, and the values of stack slots by offset and width."""

    registers: list[Value]
    slots: dict[tuple[int, int], Value]

    def copy(self) -> State:
        """Returns a state of its own with the same values."""
        return State(self.registers.copy(), self.slots.copy())


def refine(state: State, left: Value, operation: int, right: Value, narrow: bool) -> None:
    """Narrows a number and its copies by a comparison with a constant that is true."""
    if isinstance(left, int) and isinstance(right, Number):
        left, right, operation = right, left, SWAPPED.get(operation, operation)
    if not isinstance(left, Number) or not isinstance(right, int) or left.identity is None:
        return
    found = narrowed(left, operation, right, narrow)
    registers = state.registers
    for number in range(FP):
        value = registers[number]
        if type(value) is Number and value.identity == left.identity:
            registers[number] = found
    for key, value in state.slots.items():
        if type(value) is Number and value.identity == left.identity:
            state.slots[key] = found


def forget_identities(state: State) -> None:
    """Makes every number its own: in the next round of a loop an instruction makes other numbers of the same name."""
    for number, value in enumerate(state.registers):
        if type(value) is Number and value.identity is not None:
            state.registers[number] = value._replace(identity=None)
    for key, value in state.slots.items():
        if type(value) is Number and value.identity is not None:
            state.slots[key] = value._replace(identity=None)


def forget_written(state: State, given: tuple[Value, ...], follows: bool) -> None:
    """Forgets the slots that a call may write: from a pointer that it is handed upwards; where its code `follows`
    pointers, from those kept in slots too.
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
    """Notes a call in every pointer into the packet that is kept over it."""
    for number, value in enumerate(state.registers):
        if isinstance(value, Packet):
            state.registers[number] = Packet(value.crossed | {place})
    for key, value in state.slots.items():
        if isinstance(value, Packet):
            state.slots[key] = Packet(value.crossed | {place})


def drop_packets(state: State) -> None:
    """Forgets every pointer into the packet."""
    for number, value in enumerate(state.registers):
        if isinstance(value, Packet):
            state.registers[number] = Number(None)
    for key, value in list(state.slots.items()):
        if isinstance(value, Packet):
            del state.slots[key]
