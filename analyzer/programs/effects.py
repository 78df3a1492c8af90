"""What one instruction does to the registers and stack slots, and what it shows of its function: tail calls, arguments of
subprograms, the stack, and packet pointers that are used behind a call.
"""

from __future__ import annotations

from tailcall_audit.analyzer.programs.arithmetic import HALF, compute
from tailcall_audit.analyzer.programs.code import Code, Reference, Refers
from tailcall_audit.analyzer.programs.seen import CHANGES_PACKET, Layout
from tailcall_audit.analyzer.programs.state import FP, State, cross, drop_packets, forget_written
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
)
from tailcall_audit.probes.kernel.instructions import HELPER_TAIL_CALL, Insn

__all__ = ["Effects"]

_LD_IMM64, _CALL, _CALL_REGISTER = 0x18, 0x85, 0x8D
_LDX, _ST, _STX, _ALU, _ALU64 = 1, 2, 3, 4, 7
_WIDTHS = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_HIGHEST = {width: (1 << 8 * width) - 1 for width in _WIDTHS.values()}
_FORGOTTEN: list[Value] = [Number(None)] * 5
_new = tuple.__new__
"""Makes a named tuple without the check of its fields: there is one for each instruction."""
_ATOMIC, _LOAD_ACQUIRE = 0xC0, 0x100
_MOV = 0xB0


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

    def apply(self, place: int, insn: Insn, state: State) -> None:
        """Changes a state by the instruction at a place."""
        code = insn[0]
        kind = code & 7
        if kind in (_ALU64, _ALU):
            self._alu(place, insn, state[0])
        elif kind == _LDX:
            self._load(place, insn, state)
        elif kind in (_ST, _STX):
            self._store(place, insn, state)
        elif code == _LD_IMM64:
            state.registers[insn.dst] = self._wide(place, insn)
        elif code in (_CALL, _CALL_REGISTER):
            self._call(place, insn, state)
        elif kind == 0:  # the old loads from a packet (BPF_ABS, BPF_IND)
            state.registers[0] = Number(place)

    def _wide(self, place: int, insn: Insn) -> Value:
        reference = self._code.references.get(place)
        if reference is None:
            return insn.imm & TOP if place not in self._code.constant else Number(place, maybe=True)
        if reference.kind is Refers.MAP:
            return MapPointer(reference.name)
        if reference.kind is Refers.VALUE:
            return MapValue(reference.frozen)
        if reference.kind is Refers.ADDRESS:
            return Address(reference.target)
        return MapValue(True) if reference.frozen else Number(place, maybe=True)

    def _alu(self, place: int, insn: Insn, registers: list[Value]) -> None:
        code, dst, src, off, imm = insn
        if dst > FP:
            return
        wide = code & 7 == _ALU64
        other: Value
        if code & 8:
            other = registers[src] if src <= FP else None
        else:
            other = Number(place, maybe=True) if place in self._code.constant else imm & TOP
        if code & 0xF0 == _MOV and off == 0 and (wide or isinstance(other, int)):
            registers[dst] = other if wide or not isinstance(other, int) else other & HALF
        else:
            registers[dst] = compute(place, insn, registers[dst], other, wide)

    def _load(self, place: int, insn: Insn, state: State) -> None:
        base = state.registers[insn.src] if insn.src <= FP else None
        width = _WIDTHS[insn.code & 0x18]
        self._uses(base, insn.off)
        value: Value = _new(Number, (place, 0, _HIGHEST[width], False))
        if isinstance(base, Frame):
            value = None if base.offset is None else state.slots.get((base.offset + insn.off, width))
            if value is None and width < 8:
                value = Number(place, 0, (1 << 8 * width) - 1)
        elif isinstance(base, MapValue) and base.frozen:
            value = Number(place, 0, (1 << 8 * width) - 1, True)
        elif isinstance(base, Context) and self._layout.packet is None and width == 8:
            value = None
        elif isinstance(base, Context) and self._layout.packet and base.offset + insn.off in self._layout.packet:
            value = Packet(frozenset()) if width >= 4 else value
        elif (base is None or isinstance(base, Memory)) and width == 8:
            value = None
        if insn.dst < FP:
            state.registers[insn.dst] = value

    def _store(self, place: int, insn: Insn, state: State) -> None:
        base = state.registers[insn.dst] if insn.dst <= FP else None
        width = _WIDTHS[insn.code & 0x18]
        self._uses(base, insn.off)
        if insn.code & 0xE0 == _ATOMIC and insn.imm == _LOAD_ACQUIRE:
            self._load(place, insn, state)
            return
        if insn.code & 0xE0 == _ATOMIC:
            value: Value = None
            if insn.imm & 1 and insn.src < FP:  # BPF_FETCH
                state.registers[insn.src] = Number(place)
            if insn.imm & 0xF0 == 0xF0:
                state.registers[0] = Number(place)  # BPF_CMPXCHG
        elif insn.code & 7 == _ST:
            value = insn.imm & ((1 << 8 * width) - 1) if place not in self._code.constant else Number(place, maybe=True)
        else:
            value = state.registers[insn.src] if insn.src <= FP else None
        if not isinstance(base, Frame):
            return
        if base.offset is None:
            state.slots.clear()
            return
        start = base.offset + insn.off
        for offset, size in list(state.slots):
            if offset < start + width and start < offset + size:
                del state.slots[offset, size]
        if value is not None and (
            width == 8 or (isinstance(value, int | Number) and bounds(value)[1] >> 8 * width == 0)
        ):
            state.slots[start, width] = value

    def _uses(self, base: Value, offset: int) -> None:
        """Records that memory at a pointer is read or written."""
        if isinstance(base, Frame):
            if base.offset is None:
                self.varies = True
            else:
                self.depth = max(self.depth, -(base.offset + offset))
        elif isinstance(base, Packet):
            self.crossed |= base.crossed
        elif base is None and self._called:
            self.is_vague = True

    def _call(self, place: int, insn: Insn, state: State) -> None:
        registers = state.registers
        reference = self._code.references.get(place)
        given = tuple(registers[1:6])
        helper = _helper(insn, reference)
        own = reference is not None and reference.kind is Refers.FUNCTION
        addresses = tuple(value.function for value in given if isinstance(value, Address))
        if addresses:
            self.addresses[place] = addresses
        for value in given:
            if isinstance(value, Frame):
                self._uses(value, 0)
            elif isinstance(value, Packet):
                self.crossed |= value.crossed
        if own:
            known = self.arguments.get(place)
            handed = tuple(map(_handed, given))
            self.arguments[place] = (
                handed if known is None else tuple(join(a, b, True, False) for a, b in zip(known, handed, strict=True))
            )
        if helper == HELPER_TAIL_CALL:
            before = self.tail_calls.get(place)
            found = (given[1], given[2])
            self.tail_calls[place] = (
                found
                if before is None
                else (join(before[0], found[0], True, True), join(before[1], found[1], True, bool(self.undecided)))
            )
        forget_written(state, given, own or bool(addresses))
        if own or helper == HELPER_TAIL_CALL or addresses:
            self._called = True
            cross(state, place)
        elif helper in CHANGES_PACKET:
            drop_packets(state)
        registers[0] = _new(Number, (place, 0, TOP, own))
        registers[1:6] = _FORGOTTEN


def _helper(insn: Insn, reference: Reference | None) -> int | None:
    """Returns the number of the helper that is called, None if it is not a helper or not known."""
    if reference is None:
        return insn.imm if insn.code == _CALL and insn.src == 0 else None
    return reference.target if reference.kind is Refers.HELPER else None


def _handed(value: Value) -> Value:
    """Returns a value as the called subprogram sees it: identities and recorded calls are dropped, and a pointer into
    the caller's stack becomes `Memory`.
    """
    if isinstance(value, Number):
        return value._replace(identity=None)
    if isinstance(value, Packet):
        return Packet(frozenset())
    return Memory() if isinstance(value, Frame) else value
