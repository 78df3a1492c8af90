"""What is known of a register or stack slot, as the analysis of a function sees it: values, and what joins two.

A value is None (nothing is known: it may be a pointer into the packet), an int (a constant, 64 bits, unsigned) or one
of the types here. They are tuples, because there are as many as instructions; `tag` keeps those of two types apart.
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


class Number(NamedTuple):
    """A number, or a pointer that is none into the packet, from `low` to `high`.

    Copies of one have the same `identity`; None is that of no other. `maybe` is True where it is, or may be, a
    constant once the program is loaded.
    """

    identity: int | None
    low: int = 0
    high: int = TOP
    maybe: bool = False


class Frame(NamedTuple):
    """A pointer into the function's own stack; the offset (bytes, negative) is None where it varies."""

    offset: int | None
    tag: str = "frame"


class MapPointer(NamedTuple):
    """A map, by its name."""

    name: str
    tag: str = "map"


class MapValue(NamedTuple):
    """A pointer to global data; `frozen` is True where the verifier reads it as constants."""

    frozen: bool
    tag: str = "value"


class Address(NamedTuple):
    """The address of a function, by its index."""

    function: int
    tag: str = "function"


class Context(NamedTuple):
    """The program's context, at an offset in bytes."""

    offset: int
    tag: str = "context"


class Memory(NamedTuple):
    """A pointer to the stack of a caller, where a pointer into the packet may be kept."""

    tag: str = "memory"


class Packet(NamedTuple):
    """A pointer into the packet, and the instructions of the calls that were made since it was read."""

    crossed: frozenset[int]
    tag: str = "packet"


Value = int | Number | Frame | MapPointer | MapValue | Address | Context | Memory | Packet | None


def bounds(value: Value) -> tuple[int, int]:
    """Returns the least and the greatest number that a value may be."""
    if isinstance(value, int):
        return value, value
    return (value.low, value.high) if isinstance(value, Number) else (0, TOP)


def may_be_constant(value: Value) -> bool:
    """Returns True for a constant, and what may be one when the program is loaded."""
    return isinstance(value, int) or (isinstance(value, Number) and value.maybe)


def join(first: Value, second: Value, widen: bool, maybe: bool) -> Value:
    """Returns what holds of both values. `widen` gives up ranges, so that loops end; `maybe` is True where one of the
    paths may not be there when the program is loaded.
    """
    if first == second:
        return first
    if isinstance(first, Packet) or isinstance(second, Packet):
        crossed = frozenset[int]()
        for value in (first, second):
            if isinstance(value, Packet):
                crossed |= value.crossed
        return Packet(crossed)
    if first is None or second is None:
        return None
    if isinstance(first, Frame) and isinstance(second, Frame):
        return Frame(None)
    if not isinstance(first, int | Number) or not isinstance(second, int | Number):
        return Number(None, maybe=maybe) if not isinstance(first, Memory) and not isinstance(second, Memory) else None
    low, high = 0, TOP
    if not widen:
        (low, high), (other_low, other_high) = bounds(first), bounds(second)
        low, high = min(low, other_low), max(high, other_high)
    unsure = maybe or any(isinstance(value, Number) and value.maybe for value in (first, second))
    return Number(None, low, high, unsure)
