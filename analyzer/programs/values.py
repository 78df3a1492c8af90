"""The abstract values of registers and stack slots, and how two of them are joined.

A value is None (unknown: it may be a packet pointer), an int (a constant, 64 bits, unsigned) or one of the types here.
They are tuples because there is one for every instruction. `tag` keeps tuples of different types from being equal.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "TOP",
    "Address",
    "Context",
    "Frame",
    "MapPointer",
    "MapValue",
    "Memory",
    "Number",
    "Packet",
    "Value",
    "bounds",
    "join",
    "may_be_constant",
]

TOP = (1 << 64) - 1
_new = tuple.__new__
"""Makes a named tuple without the check of its fields: there is one for each instruction."""


class Number(NamedTuple):
    """A number from `low` to `high`, or a pointer that does not point into the packet.

    Copies of a number have the same `identity`; None means that the number has no copies. `maybe` is True if the number
    is, or may be, constant once the program is loaded.
    """

    identity: int | None
    low: int = 0
    high: int = TOP
    maybe: bool = False


class Frame(NamedTuple):
    """A pointer into the function's own stack. The offset (bytes, negative) is None if it varies."""

    offset: int | None
    tag: str = "frame"


class MapPointer(NamedTuple):
    """A map, given by its name."""

    name: str
    tag: str = "map"


class MapValue(NamedTuple):
    """A pointer to global data. `frozen` is True if the verifier reads the data as constants."""

    frozen: bool
    tag: str = "value"


class Address(NamedTuple):
    """The address of a function, given by its index."""

    function: int
    tag: str = "function"


class Context(NamedTuple):
    """The program's context, plus an offset in bytes."""

    offset: int
    tag: str = "context"


class Memory(NamedTuple):
    """A pointer into a caller's stack, where a packet pointer may be stored."""

    tag: str = "memory"


class Packet(NamedTuple):
    """A packet pointer, and the instructions of the calls that were made since it was read."""

    crossed: frozenset[int]
    tag: str = "packet"


_NUMBERS = frozenset((int, Number))
Value = int | Number | Frame | MapPointer | MapValue | Address | Context | Memory | Packet | None


def bounds(value: Value) -> tuple[int, int]:
    """Returns the least and the greatest number that a value can be."""
    if type(value) is int:
        return value, value
    return (value[1], value[2]) if type(value) is Number else (0, TOP)


def may_be_constant(value: Value) -> bool:
    """Returns True for a constant and for a value that may be constant when the program is loaded."""
    return type(value) is int or (type(value) is Number and value[3])


def join(first: Value, second: Value, widen: bool, maybe: bool) -> Value:
    """Returns what holds for both values. `widen` gives up ranges, so that the interpretation of loops ends. `maybe` is
    True if one of the paths may be removed when the program is loaded.
    """
    if first is second or first == second:
        return first
    if type(first) is Number and type(second) is Number:
        unsure = maybe or first[3] or second[3]
        if widen:
            return _new(Number, (None, 0, TOP, unsure))
        low = first[1] if first[1] < second[1] else second[1]
        return _new(Number, (None, low, first[2] if first[2] > second[2] else second[2], unsure))
    if type(first) is Packet or type(second) is Packet:
        crossed = frozenset[int]()
        for value in (first, second):
            if isinstance(value, Packet):
                crossed |= value.crossed
        return Packet(crossed)
    if first is None or second is None:
        return None
    if isinstance(first, Frame) and isinstance(second, Frame):
        return Frame(None)
    if type(first) not in _NUMBERS or type(second) not in _NUMBERS:
        return Number(None, maybe=maybe) if not isinstance(first, Memory) and not isinstance(second, Memory) else None
    low, high = 0, TOP
    if not widen:
        (low, high), (other_low, other_high) = bounds(first), bounds(second)
        low, high = min(low, other_low), max(high, other_high)
    unsure = maybe or (type(first) is Number and first[3]) or (type(second) is Number and second[3])
    return _new(Number, (None, low, high, unsure))
