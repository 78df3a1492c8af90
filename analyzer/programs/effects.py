"""What one instruction does to the registers and stack slots, and what it shows of its function: tail calls, arguments of
subprograms, the stack, and packet pointers that are used behind a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tailcall_audit.analyzer.programs.arithmetic import HALF, compute
from tailcall_audit.analyzer.programs.code import Code, Reference, Refers
from tailcall_audit.analyzer.programs.seen import CHANGES_PACKET, Layout
from tailcall_audit.analyzer.programs.state import FP, Slots, State, cross, drop_packets, forget_written
from tailcall_audit.analyzer.programs.values import (
    TOP,
    Address,
    Context,
    Frame,
    MapPointer,
    MapValue,
    Memory,
    Number,
    Packet,
    Value,
    bounds,
    join,
    may_be_constant,
)
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL
from tailcall_audit.probes.kernel.instructions import Insn

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[["Effects", int, Insn, State], None]

__all__ = ["HANDLERS", "Effects"]

_LD_IMM64, _CALL, _CALL_REGISTER = 0x18, 0x85, 0x8D
_LDX, _ST, _STX, _ALU, _ALU64 = 1, 2, 3, 4, 7
_WIDTHS = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_HIGHEST = {width: (1 << 8 * width) - 1 for width in _WIDTHS.values()}
_FORGOTTEN: list[Value] = [Number(None)] * 5
_new = tuple.__new__
"""Makes a named tuple without the check of its fields: there is one for each instruction."""
_ATOMIC, _LOAD_ACQUIRE = 0xC0, 0x100
_MODE, _SIGNED = 0xE0, 0x80
"""BPF_MEMSX is the mode of a load that extends the sign: what it reads can be any number of 64 bits."""
_MOV, _MOVE = 0xB0, 0xBF
_UNBOUNDED = frozenset((0x00, 0x10))
"""Additions and subtractions of a constant: the result is any number."""
_WORD = 8
_POINTERS, _NUMBERS = frozenset((Frame, Packet)), frozenset((int, Number))


class Effects:
    """Applies instructions of a function to states, and keeps what they show.

    `depth` is the deepest stack slot that is used, `varies` is True if one has an unknown offset. `crossed` are the
    calls across which a packet pointer is kept and then used; `is_vague` is True if a pointer of unknown origin is used
    after a call. `undecided` are the blocks that end in a jump on a value that is constant at load time.
    """

    def __init__(self, code: Code, layout: Layout) -> None:
        self._code = code
        self._layout = layout
        self.tail_calls: dict[int, tuple[Value, Value]] = {}
        self.arguments: dict[int, tuple[Value, ...]] = {}
        self.addresses: dict[int, tuple[int, ...]] = {}
        self.undecided: set[int] = set()
        self.depth = 0
        self.varies = False
        self.crossed: set[int] = set()
        self.is_vague = False
        self._called = False

    def wide(self, place: int, insn: Insn, state: State) -> None:
        """Applies a load of a 64-bit constant, a map or an address."""
        reference = self._code.references.get(place)
        value: Value
        if reference is None:
            value = insn.imm & TOP if place not in self._code.constant else Number(place, maybe=True)
        elif reference.kind is Refers.MAP:
            value = MapPointer(reference.name)
        elif reference.kind is Refers.VALUE:
            value = MapValue(reference.frozen)
        elif reference.kind is Refers.ADDRESS:
            value = Address(reference.target)
        else:
            value = MapValue(True) if reference.frozen else Number(place, maybe=True)
        if insn.dst <= FP:
            state[0][insn.dst] = value

    def move(self, place: int, insn: Insn, state: State) -> None:
        """Applies a copy of a register, 64 bits wide."""
        _, dst, src, off, _ = insn
        if off or dst > FP or src > FP:
            self.calculate(place, insn, state)
        else:
            state[0][dst] = state[0][src]

    def calculate(self, place: int, insn: Insn, state: State) -> None:
        """Applies arithmetic."""
        code, dst, src, off, imm = insn
        if dst > FP:
            return
        registers = state[0]
        wide = code & 7 == _ALU64
        other: Value
        if code & 8:
            other = registers[src] if src <= FP else None
        else:
            other = Number(place, maybe=True) if place in self._code.constant else imm & TOP
        left = registers[dst]
        if type(left) is Number and type(other) is int and code & 0xF0 in _UNBOUNDED:
            registers[dst] = _new(Number, (place, 0, TOP if wide else HALF, left[3]))
        elif code & 0xF0 == _MOV and off == 0 and (wide or type(other) is int):
            registers[dst] = other if wide or type(other) is not int else other & HALF
        else:
            registers[dst] = compute(place, insn, left, other, wide)

    def load(self, place: int, insn: Insn, state: State) -> None:
        """Applies a load from memory."""
        code, dst, src, off, _ = insn
        width = _WIDTHS[code & 0x18]
        base = state[0][src] if src <= FP else None
        value: Value = _new(Number, (place, 0, _HIGHEST[width], False))
        if type(base) is Frame:
            self._uses(base, off)
            kept = None if base[0] is None else state.slots.get((base[0] + off, width))
            value = kept if kept is not None or width == _WORD else value
        elif type(base) is Context:
            value = self._from_context(base[0] + off, width, value)
        elif base is None or type(base) is Memory:
            self.is_vague = self.is_vague or (base is None and self._called)
            value = None if width == 8 else value
        elif type(base) is Packet:
            self.crossed |= base[0]
        elif type(base) is MapValue and base[0]:
            value = Number(place, 0, _HIGHEST[width], True)
        if code & _MODE == _SIGNED and type(value) in _NUMBERS:
            value = Number(place, maybe=may_be_constant(value))
        if dst < FP:
            state[0][dst] = value

    def _from_context(self, offset: int, width: int, value: Value) -> Value:
        """Returns what a load from the context reads: a packet pointer, what may be one, or a number."""
        packet = self._layout.packet
        if packet is None:
            return None if width == _WORD else value
        return Packet(frozenset()) if offset in packet and width >= _WORD // 2 else value

    def store(self, place: int, insn: Insn, state: State) -> None:
        """Applies a store to memory, or an atomic operation."""
        code, dst, src, off, imm = insn
        registers = state[0]
        base = registers[dst] if dst <= FP else None
        width = _WIDTHS[code & 0x18]
        self._uses(base, off)
        value: Value = None
        if code & _MODE == _ATOMIC:
            if imm == _LOAD_ACQUIRE:
                self.load(place, insn, state)
                return
            if imm & 1 and src < FP:  # BPF_FETCH
                registers[src] = Number(place)
            if imm & 0xF0 == 0xF0:
                registers[0] = Number(place)  # BPF_CMPXCHG
        elif code & 7 == _ST:
            value = imm & ((1 << 8 * width) - 1) if place not in self._code.constant else Number(place, maybe=True)
        elif src <= FP:
            value = registers[src]
        if type(base) is Frame:
            _keep(state.slots, None if base[0] is None else base[0] + off, width, value)

    def _uses(self, base: Value, offset: int) -> None:
        """Records that memory at a pointer is read or written."""
        if type(base) is Frame:
            if base[0] is None:
                self.varies = True
            elif -(base[0] + offset) > self.depth:
                self.depth = -(base[0] + offset)
        elif type(base) is Packet:
            self.crossed |= base[0]
        elif base is None and self._called:
            self.is_vague = True

    def old_load(self, place: int, insn: Insn, state: State) -> None:
        """Applies one of the old loads from a packet (BPF_ABS, BPF_IND)."""
        state[0][0] = Number(place)

    def call(self, place: int, insn: Insn, state: State) -> None:
        """Applies a call of a helper, a kfunc or a subprogram."""
        registers = state[0]
        reference = self._code.references.get(place)
        given = tuple(registers[1:6])
        helper = _helper(insn, reference)
        own = reference is not None and reference.kind is Refers.FUNCTION
        kinds = set(map(type, given))
        addresses: tuple[int, ...] = ()
        if Address in kinds:
            addresses = tuple([value.function for value in given if isinstance(value, Address)])
            self.addresses[place] = addresses
        if Frame in kinds or Packet in kinds:
            for value in given:
                if type(value) in _POINTERS:
                    self._uses(value, 0)
        if own:
            self._record_arguments(place, given)
        if helper == HELPER_TAIL_CALL:
            self._record_tail_call(place, given[1], given[2])
        if Frame in kinds:
            forget_written(state, given, own or bool(addresses))
        if own or helper == HELPER_TAIL_CALL or addresses:
            self._called = True
            cross(state, place)
        elif helper in CHANGES_PACKET:
            drop_packets(state)
        registers[0] = _new(Number, (place, 0, TOP, own))
        registers[1:6] = _FORGOTTEN

    def _record_arguments(self, place: int, given: tuple[Value, ...]) -> None:
        known = self.arguments.get(place)
        handed = tuple(map(_handed, given))
        self.arguments[place] = (
            handed if known is None else tuple(join(a, b, True, False) for a, b in zip(known, handed, strict=True))
        )

    def _record_tail_call(self, place: int, chosen: Value, key: Value) -> None:
        before = self.tail_calls.get(place)
        self.tail_calls[place] = (
            (chosen, key)
            if before is None
            else (join(before[0], chosen, True, True), join(before[1], key, True, bool(self.undecided)))
        )


def _helper(insn: Insn, reference: Reference | None) -> int | None:
    """Returns the number of the helper that is called, None if it is not a helper or not known."""
    if reference is None:
        return insn.imm if insn.code == _CALL and insn.src == 0 else None
    return reference.target if reference.kind is Refers.HELPER else None


def _keep(slots: Slots, start: int | None, width: int, value: Value) -> None:
    """Stores a value into a stack slot (None: into an unknown one), and forgets what it overwrites."""
    if start is None:
        slots.clear()
        return
    for offset, size in [key for key in slots if key[0] < start + width and start < key[0] + key[1]]:
        del slots[offset, size]
    if value is not None and (width == _WORD or (type(value) in _NUMBERS and bounds(value)[1] >> 8 * width == 0)):
        slots[start, width] = value


def _handed(value: Value) -> Value:
    """Returns a value as the called subprogram sees it: identities and recorded calls are dropped, and a pointer into
    the caller's stack becomes `Memory`.
    """
    if isinstance(value, Number):
        return value._replace(identity=None)
    if isinstance(value, Packet):
        return Packet(frozenset())
    return Memory() if isinstance(value, Frame) else value


def _nothing(effects: Effects, place: int, insn: Insn, state: State) -> None:
    """Applies an instruction that changes no register and no slot: a jump."""


def _handler(code: int) -> Handler:
    kind = code & 7
    if code in (_CALL, _CALL_REGISTER):
        return Effects.call
    if code == _LD_IMM64:
        return Effects.wide
    if kind in (_ALU, _ALU64):
        return Effects.move if code == _MOVE else Effects.calculate
    return {_LDX: Effects.load, _ST: Effects.store, _STX: Effects.store, 0: Effects.old_load}.get(kind, _nothing)


HANDLERS: tuple[Handler, ...] = tuple(map(_handler, range(256)))
"""The functions that apply an instruction to a state, by opcode."""
