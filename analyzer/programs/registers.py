"""Abstract interpretation of one function: the registers and stack slots at each instruction. Follows the verifier's
model without checking its rules.

Tracks constants, maps, addresses of functions, and pointers into the stack and the packet, through copies and spills. A
value that only the verifier could bound (a range after arithmetic) becomes a `Number`, which may be anything. A value
that becomes constant at load time is marked. Code on paths that look dead is interpreted too, and reported as dead.
"""

from __future__ import annotations

import heapq

from tailcall_audit.analyzer.programs.arithmetic import COMPARISONS, decide
from tailcall_audit.analyzer.programs.code import Code
from tailcall_audit.analyzer.programs.effects import HANDLERS, Effects
from tailcall_audit.analyzer.programs.flow import Graph
from tailcall_audit.analyzer.programs.seen import Layout, Seen
from tailcall_audit.analyzer.programs.state import FP, State, forget_identities, merge, merge_into, split
from tailcall_audit.analyzer.programs.values import TOP, Frame, Number, Value, join, may_be_constant
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["interpret"]

_EXIT = 0x95
_JMP, _JMP32 = 5, 6
_WIDEN_AFTER, _GIVE_UP_AFTER = 3, 64


class _Interpreter:
    def __init__(self, code: Code, graph: Graph, arguments: tuple[Value, ...], layout: Layout, budget: int) -> None:
        self._code = code
        self._graph = graph
        self._left = budget
        self._entry = State([None, *arguments, None, None, None, None, Frame(0)], {})
        self._effects = Effects(code, layout)
        self._returned: list[Value] = []
        self._is_dead = False

    def run_forward(self) -> Seen | None:
        """Interprets a function without loops, each block once, after all that lead to it. Returns None if there is a
        loop, or a block that nothing leads to.
        """
        blocks = self._graph.blocks
        if any(follower <= index for index, block in enumerate(blocks) for follower in block.after):
            return None
        states: list[State | None] = [self._entry, *[None] * (len(blocks) - 1)]
        for index in range(len(blocks)):
            state, states[index] = states[index], None
            if state is None:
                return None
            for follower, behind in self._block(index, state):
                known = states[follower]
                if known is None:
                    states[follower] = behind
                else:
                    merge_into(follower, known, behind, False, maybe=bool(self._effects.undecided))
        return self._seen(frozenset(range(len(blocks))), True)

    def run(self) -> Seen:
        """Interprets any function."""
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
                    else merge(
                        follower, known, state, visits[follower] > _WIDEN_AFTER, maybe=bool(self._effects.undecided)
                    )
                )
                if merged is not None:
                    states[follower] = merged
                    if follower not in queued:
                        queued.add(follower)
                        heapq.heappush(todo, follower)
        return self._seen(frozenset(range(len(blocks))) if visited is None else frozenset(visited), complete)

    def _seen(self, visited: frozenset[int], complete: bool) -> Seen:
        effects = self._effects
        return Seen(
            effects.tail_calls,
            effects.arguments,
            effects.addresses,
            frozenset(effects.undecided),
            visited if not self._graph.indirect else frozenset(range(len(self._graph.blocks))),
            None if effects.varies or not complete else effects.depth,
            None if effects.is_vague or not complete else frozenset(effects.crossed),
            self._returned[0] if self._returned and complete else None,
            complete,
        )

    def _block(self, index: int, state: State) -> list[tuple[int, State]]:
        """Interprets a block. Returns the following blocks with the states in which they begin."""
        block = self._graph.blocks[index]
        instructions = self._code.instructions
        effects = self._effects
        for place in range(block.start, block.end):
            insn = instructions[place]
            HANDLERS[insn[0]](effects, place, insn, state)
        return self._follow(index, instructions[block.end - 1], state)

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
        if type(left) is int and type(right) is int:
            taken = decide(operation, left, right, narrow)
            return [(after[0] if taken else after[1], state)]
        if may_be_constant(left) and may_be_constant(right):
            self._effects.undecided.add(index)
        jumps, falls = split(state, left, operation, right, narrow)
        return [(after[0], jumps), (after[1], falls)]


def interpret(code: Code, graph: Graph, arguments: tuple[Value, ...], layout: Layout) -> Seen:
    """Interprets a function that is entered with these values of R1 to R5. The work is limited in proportion to its
    length.
    """
    budget = 40 * len(code.instructions) + 10_000
    found = _Interpreter(code, graph, arguments, layout, budget).run_forward()
    return _Interpreter(code, graph, arguments, layout, budget).run() if found is None else found
