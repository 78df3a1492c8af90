"""Arithmetic and comparisons of abstract values: exact for constants; ranges are narrowed by comparisons only."""

from __future__ import annotations

from operator import eq, ge, gt, le, lt, ne

from tailcall_audit.analyzer.programs.values import (
    TOP,
    Context,
    Frame,
    MapValue,
    Memory,
    Number,
    Packet,
    Value,
    bounds,
    may_be_constant,
)
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["COMPARISONS", "HALF", "SWAPPED", "compute", "decide", "narrowed", "negated"]

_ADD, _SUB, _MUL, _OR, _AND, _LSH, _RSH, _XOR = 0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xA0
_JEQ, _JGT, _JGE, _JNE, _JSGT, _JSGE, _JLT, _JLE, _JSLT, _JSLE = (
    0x10, 0x20, 0x30, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0
)  # fmt: skip
_MOVES = frozenset((_ADD, _SUB))
_BOUNDED = frozenset((_AND, _MUL, _LSH, _RSH))
_KEPT = frozenset((Packet, MapValue, Memory))
"""Types of pointers that are the same value wherever they are moved to."""
_UNSIGNED = {_JSGT: _JGT, _JSGE: _JGE, _JSLT: _JLT, _JSLE: _JLE}
_NEGATED = {_JEQ: _JNE, _JNE: _JEQ, _JGT: _JLE, _JLE: _JGT, _JGE: _JLT, _JLT: _JGE}
_SIGNED_NEGATED = {_JSGT: _JSLE, _JSLE: _JSGT, _JSGE: _JSLT, _JSLT: _JSGE}
_HOLDS = {_JEQ: eq, _JNE: ne, _JGT: gt, _JGE: ge, _JLT: lt, _JLE: le}
COMPARISONS = frozenset((*_NEGATED, *_UNSIGNED))
"""The conditional jumps that are evaluated: all except those that test bits."""
HALF = (1 << 32) - 1
_new = tuple.__new__
"""Makes a named tuple without the check of its fields: there is one for each instruction."""


def compute(place: int, insn: Insn, left: Value, right: Value, wide: bool) -> Value:
    """Returns the result of arithmetic: exact for two constants, a pointer if a pointer is moved, otherwise a
    number.
    """
    operation = insn[0] & 0xF0
    if operation in _MOVES and wide:
        moved, by = (right, left) if type(left) is int or type(left) is Number else (left, right)
        if moved is None or type(moved) in _KEPT:
            return moved
        if type(moved) is Frame:
            return Frame(None if moved.offset is None or type(by) is not int else moved.offset + _step(operation, by))
        if type(moved) is Context and type(by) is int:
            return Context(moved.offset + _step(operation, by))
    if type(left) is int and type(right) is int:
        found = _exact(operation, left, right, wide)
        if found is not None:
            return found
    maybe = may_be_constant(left) and may_be_constant(right)
    if operation in _BOUNDED:
        maybe = maybe or (type(left) is Number and left[3]) or (type(right) is Number and right[3])
        if operation == _AND and (type(left) is int or type(right) is int):
            high = min(bounds(left)[1], bounds(right)[1])
            return 0 if high == 0 else _new(Number, (place, 0, high, maybe))
    return _new(Number, (place, 0, TOP if wide else HALF, maybe))


def _step(operation: int, by: int) -> int:
    """Returns by how many bytes a pointer is moved."""
    step = by - (1 << 64) if by >> 63 else by
    return step if operation == _ADD else -step


def _exact(operation: int, left: int, right: int, wide: bool) -> int | None:
    """Returns the result of an operation on constants, None if the operation is not supported (division, byte order,
    sign).
    """
    mask, bits = (TOP, 63) if wide else (HALF, 31)
    left, right = left & mask, right & mask
    if operation == _ADD:
        return left + right & mask
    if operation == _SUB:
        return left - right & mask
    if operation == _MUL:
        return left * right & mask
    if operation == _OR:
        return left | right
    if operation == _AND:
        return left & right
    if operation == _XOR:
        return left ^ right
    if operation == _LSH:
        return left << (right & bits) & mask
    return left >> (right & bits) if operation == _RSH else None


def _signed(value: int, narrow: bool) -> int:
    bits = 32 if narrow else 64
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def decide(operation: int, left: int, right: int, narrow: bool) -> bool:
    """Returns True if a jump is taken, given two constants."""
    if operation in _UNSIGNED:
        left, right = _signed(left, narrow), _signed(right, narrow)
        operation = _UNSIGNED[operation]
    elif narrow:
        left, right = left & HALF, right & HALF
    return bool(_HOLDS[operation](left, right))


def negated(operation: int) -> int:
    """Returns the comparison that is true exactly when another is false."""
    return _SIGNED_NEGATED.get(operation) or _NEGATED[operation]


SWAPPED = {
    _JGT: _JLT, _JLT: _JGT, _JGE: _JLE, _JLE: _JGE, _JSGT: _JSLT, _JSLT: _JSGT, _JSGE: _JSLE, _JSLE: _JSGE
}  # fmt: skip
"""Each comparison and its equivalent with the operands exchanged."""


def narrowed(left: Number, operation: int, right: int, narrow: bool) -> Value:
    """Returns what a number can be once a comparison with it is known to be true. If the comparison is not supported
    here, the number is marked as possibly constant to the verifier.
    """
    low, high = left.low, left.high
    if operation in _UNSIGNED:
        # Signed and unsigned comparisons agree if both numbers are not negative.
        negative = high > (HALF if narrow else TOP) >> 1 or _signed(right, narrow) < 0
        operation = 0 if negative else _UNSIGNED[operation]
    if narrow:
        right &= HALF
        operation = 0 if high > HALF else operation
    if operation == _JEQ:
        low, high = max(low, right), min(high, right)
    elif operation == _JNE:
        low, high = low + (low == right), high - (high == right)
    elif operation == _JGT:
        low = max(low, right + 1)
    elif operation == _JGE:
        low = max(low, right)
    elif operation == _JLT:
        high = min(high, right - 1)
    elif operation == _JLE:
        high = min(high, right)
    else:
        return left._replace(maybe=True)
    if low > high:
        return left  # no path leads here
    if low == left.low and high == left.high:
        return left
    return low if low == high else _new(Number, (left.identity, low, high, left.maybe))
