"""Abstract interpretation of one function: the registers and stack slots at each instruction. Follows the verifier's
model without checking its rules.

Tracks constants, maps, addresses of functions, and pointers into the stack and the packet, through copies and spills. A
value that only the verifier could bound (a range after arithmetic) becomes a `Number`, which may be anything. A value
that becomes constant at load time is marked. Code on paths that look dead is interpreted too, and reported as dead.
"""

from __future__ import annotations

import heapq

from tailcall_audit.analyzer.programs.arithmetic import COMPARISONS, HALF, compute, decide, negated
from tailcall_audit.analyzer.programs.code import Code, Reference, Refers
from tailcall_audit.analyzer.programs.flow import Graph
from tailcall_audit.analyzer.programs.seen import CHANGES_PACKET, Layout, Seen
from tailcall_audit.analyzer.programs.state import (
    FP,
    State,
    cross,
    drop_packets,
    forget_identities,
    forget_written,
    merge,
    refine,
)
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
from tailcall_audit.probes.kernel.instructions import HELPER_TAIL_CALL, Insn

__all__ = ["interpret"]

_LD_IMM64, _CALL, _CALL_REGISTER, _EXIT = 0x18, 0x85, 0x8D, 0x95
_LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = 1, 2, 3, 4, 5, 6, 7
_WIDTHS = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_HIGHEST = {width: (1 << 8 * width) - 1 for width in _WIDTHS.values()}
_FORGOTTEN: list[Value] = [Number(None)] * 5
_new = tuple.__new__
"""Makes a named tuple without the check of its fields: there is one for each instruction."""
_ATOMIC, _LOAD_ACQUIRE = 0xC0, 0x100
_MOV = 0xB0
_WIDEN_AFTER, _GIVE_UP_AFTER = 3, 64


class _Interpreter:
    def __init__(self, code: Code, graph: Graph, arguments: tuple[Value, ...], layout: Layout, budget: int) -> None:
        self._code = code
        self._graph = graph
        self._layout = layout
        self._left = budget
        self._entry = State([None, *arguments, None, None, None, None, Frame(0)], {})
        self.tail_calls: dict[int, tuple[Value, Value]] = {}
        self.arguments: dict[int, tuple[Value, ...]] = {}
        self.addresses: dict[int, tuple[int, ...]] = {}
        self._undecided: set[int] = set()
        self._depth = 0
        self._varies = False
        self._crossed: set[int] = set()
        self._vague = False
        self._returned: list[Value] = []
        self._called = False
        self._is_dead = False

    def run(self) -> Seen:
        blocks = self._graph.blocks
        states: dict[int, State] = {0: self._entry}
        visits = [0] * len(blocks)
        todo = [0]
        queued = {0}
        visited: set[int] | None = None
        complete = True
        while todo or visited is None:
            if not todo:
                # Blocks that constants rule out are interpreted too, with unknown values, and are reported as dead.
                visited, self._is_dead = set(states), True
                for index in range(len(blocks)):
                    if index not in states:
                        states[index] = State([*[None] * 10, Frame(0)], {})
                        todo.append(index)
                        queued.add(index)
                continue
            index = heapq.heappop(todo)
            queued.discard(index)
            visits[index] += 1
            self._left -= blocks[index].end - blocks[index].start + 4
            if visits[index] > _GIVE_UP_AFTER or self._left < 0:
                complete = False
                break
            for follower, state in self._block(index, states[index].copy()):
                if follower <= index:
                    forget_identities(state)
                known = states.get(follower)
                merged = (
                    state
                    if known is None
                    else merge(follower, known, state, visits[follower] > _WIDEN_AFTER, maybe=bool(self._undecided))
                )
                if merged is not None:
                    states[follower] = merged
                    if follower not in queued:
                        queued.add(follower)
                        heapq.heappush(todo, follower)
        return self._seen(frozenset(range(len(blocks))) if visited is None else frozenset(visited), complete)

    def _seen(self, visited: frozenset[int], complete: bool) -> Seen:
        return Seen(
            self.tail_calls,
            self.arguments,
            self.addresses,
            frozenset(self._undecided),
            visited if not self._graph.indirect else frozenset(range(len(self._graph.blocks))),
            None if self._varies or not complete else self._depth,
            None if self._vague or not complete else frozenset(self._crossed),
            self._returned[0] if self._returned and complete else None,
            complete,
        )

    def _block(self, index: int, state: State) -> list[tuple[int, State]]:
        """Interprets a block. Returns the following blocks with the states in which they begin."""
        block = self._graph.blocks[index]
        instructions = self._code.instructions
        for place in range(block.start, block.end):
            insn = instructions[place]
            kind = insn.code & 7
            if kind in (_ALU64, _ALU):
                self._alu(place, insn, state.registers)
            elif kind == _LDX:
                self._load(place, insn, state)
            elif kind in (_ST, _STX):
                self._store(place, insn, state)
            elif insn.code == _LD_IMM64:
                state.registers[insn.dst] = self._wide(place, insn)
            elif insn.code in (_CALL, _CALL_REGISTER):
                self._call(place, insn, state)
            elif kind == 0:  # the old loads from a packet (BPF_ABS, BPF_IND)
                state.registers[0] = Number(place)
        return self._follow(index, instructions[block.end - 1], state)

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
        operation, wide = insn.code & 0xF0, insn.code & 7 == _ALU64
        other: Value
        if insn.code & 8:
            other = registers[insn.src] if insn.src <= FP else None
        else:
            other = Number(place, maybe=True) if place in self._code.constant else insn.imm & TOP
        if insn.dst > FP:
            return
        if operation == _MOV and wide and insn.off == 0:
            registers[insn.dst] = other
        elif operation == _MOV and insn.off == 0 and isinstance(other, int):
            registers[insn.dst] = other & HALF
        else:
            registers[insn.dst] = compute(place, insn, registers[insn.dst], other, wide)

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
                self._varies = True
            else:
                self._depth = max(self._depth, -(base.offset + offset))
        elif isinstance(base, Packet):
            self._crossed |= base.crossed
        elif base is None and self._called:
            self._vague = True

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
                self._crossed |= value.crossed
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
                else (join(before[0], found[0], True, True), join(before[1], found[1], True, bool(self._undecided)))
            )
        forget_written(state, given, own or bool(addresses))
        if own or helper == HELPER_TAIL_CALL or addresses:
            self._called = True
            cross(state, place)
        elif helper in CHANGES_PACKET:
            drop_packets(state)
        registers[0] = _new(Number, (place, 0, TOP, own))
        registers[1:6] = _FORGOTTEN

    def _follow(self, index: int, insn: Insn, state: State) -> list[tuple[int, State]]:
        after = self._graph.blocks[index].after
        if insn.code == _EXIT and not self._is_dead:
            value = state.registers[0]
            self._returned = [join(self._returned[0], value, True, True) if self._returned else value]
        if len(after) < 2 or insn.code & 7 not in (_JMP, _JMP32):
            return [(follower, state) for follower in after]
        operation, narrow = insn.code & 0xF0, insn.code & 7 == _JMP32
        if operation not in COMPARISONS:
            return [(after[0], state.copy()), (after[1], state)]
        left = state.registers[insn.dst] if insn.dst <= FP else None
        right: Value = insn.imm & TOP
        if insn.code & 8:
            right = state.registers[insn.src] if insn.src <= FP else None
        elif self._code.instructions and self._graph.blocks[index].end - 1 in self._code.constant:
            right = Number(None, maybe=True)
        if isinstance(left, int) and isinstance(right, int):
            taken = decide(operation, left, right, narrow)
            return [(after[0] if taken else after[1], state)]
        if may_be_constant(left) and may_be_constant(right):
            self._undecided.add(index)
        jumps, falls = state.copy(), state
        refine(jumps, left, operation, right, narrow)
        refine(falls, left, negated(operation), right, narrow)
        return [(after[0], jumps), (after[1], falls)]


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


def interpret(code: Code, graph: Graph, arguments: tuple[Value, ...], layout: Layout) -> Seen:
    """Interprets a function that is entered with these values of R1 to R5. The work is limited in proportion to its
    length.
    """
    budget = 40 * len(code.instructions) + 10_000
    return _Interpreter(code, graph, arguments, layout, budget).run()
