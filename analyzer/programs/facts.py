"""Derives the facts about a program from the code of its functions: calls, tail calls, and values that are kept across
calls.

A function that several programs share is interpreted once for each combination of argument values.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import Code, Reference, Refers
from tailcall_audit.analyzer.programs.flow import Graph, graph_of, surely_reached
from tailcall_audit.analyzer.programs.locks import held_at_tail_calls
from tailcall_audit.analyzer.programs.registers import Layout, Seen, interpret
from tailcall_audit.analyzer.programs.types import (
    CallbackSite,
    CallSite,
    Function,
    HelperCall,
    Reach,
    SourceLine,
    TailCall,
)
from tailcall_audit.analyzer.programs.values import Context, MapPointer, Number, Value, join, may_be_constant
from tailcall_audit.probes.kernel.instructions import HELPER_TAIL_CALL, Insn

__all__ = ["Facts", "Workshop"]

_LD_IMM64, _CALL, _CALL_REGISTER = 0x18, 0x85, 0x8D
_PSEUDO_CALL, _PSEUDO_FUNC, _PSEUDO_MAP, _PSEUDO_VALUE, _PSEUDO_KFUNC = 1, 4, 1, 2, 2
_SKB, _XDP, _PAIR = Layout(frozenset((76, 140))), Layout(frozenset((0, 8))), Layout(frozenset((0,)))
_OF_SKBS = "sched_cls sched_act cgroup_skb sk_skb lwt_in lwt_out lwt_xmit lwt_seg6local flow_dissector"
_LAYOUTS = {
    **dict.fromkeys(_OF_SKBS.split(), _SKB),
    "xdp": _XDP,
    "sk_msg": _PAIR,
    "sk_reuseport": _PAIR,
    "sock_ops": Layout(frozenset((192,))),
}
"""Offsets of data and data_meta in the contexts struct __sk_buff, xdp_md, sk_msg_md, sk_reuseport_md and bpf_sock_ops
(include/uapi/linux/bpf.h).
"""
_ANY = Layout(frozenset((0, 8, 76, 140, 192)))
"""For a program whose type is unknown, or that extends another: a packet pointer may be at any of these offsets."""
_NONE = Layout(frozenset())
_UNKNOWN_TYPES = frozenset((None, "ext", "unspec"))


class Facts(NamedTuple):
    """The fields of a `Program` that are derived from its code."""

    instructions: tuple[Insn, ...]
    functions: tuple[Function, ...]
    maps: tuple[str, ...]
    lines: dict[int, SourceLine]
    kfuncs: frozenset[str]


class Workshop:
    """Derives facts about the functions of one object or host. Caches the interpretation of each function by its
    arguments.
    """

    def __init__(self, codes: Sequence[Code], map_numbers: dict[str, int], *, translated: bool = False) -> None:
        """`translated` is True for instructions that the verifier has rewritten: they access the kernel's own context
        struct.
        """
        self._codes = codes
        self._translated = translated
        self._map_numbers = map_numbers
        self._graphs: dict[int, Graph] = {}
        self._positions: dict[int, array[int]] = {}
        self._calls: dict[int, tuple[int, ...]] = {}
        self._seen: dict[tuple[int, tuple[Value, ...], Layout], Seen] = {}

    def _graph(self, number: int) -> Graph:
        if number not in self._graphs:
            self._graphs[number] = graph_of(self._codes[number].instructions)
        return self._graphs[number]

    def _calls_in(self, number: int) -> tuple[int, ...]:
        """Returns the indexes of a function's call instructions."""
        if number not in self._calls:
            found = (place for place, insn in enumerate(self._codes[number].instructions) if insn.code == _CALL)
            self._calls[number] = tuple(found)
        return self._calls[number]

    def facts(self, order: tuple[int, ...], kind: str | None) -> Facts:
        """Returns the facts about a program. `order` lists its functions as they are laid out one after the other;
        `kind` is its type.
        """
        layout = _LAYOUTS.get(kind or "", _ANY if kind in _UNKNOWN_TYPES else _NONE)
        if self._translated and layout is not _NONE:
            layout = Layout(None)
        callers = self._callers_first(order)
        seen = self._interpret(callers, layout)
        called = frozenset(
            item.target
            for number in order
            for item in self._codes[number].references.values()
            if item.kind is Refers.FUNCTION
        )
        locks = held_at_tail_calls(
            {number: self._codes[number] for number in order},
            {number: self._graph(number) for number in order},
            {number: self._calls_in(number) for number in order},
            callers,
            called,
        )
        starts: dict[int, int] = {}
        position = 0
        for number in order:
            starts[number] = position
            position += len(self._codes[number].instructions)
        names = self._names(order, starts)
        functions = tuple(
            _FunctionFacts(self._codes[number], self._graph(number), seen[number], starts[number], names).make(
                names[number], {place: found for (owner, place), found in locks.items() if owner == number}
            )
            for number in order
        )
        references = [item for number in order for item in self._codes[number].references.values()]
        maps = dict.fromkeys(item.name for item in references if item.kind in (Refers.MAP, Refers.VALUE) and item.name)
        lines = {starts[number] + place: line for number in order for place, line in self._codes[number].lines.items()}
        kfuncs = frozenset(item.name for item in references if item.kind is Refers.KFUNC)
        return Facts(self._placed(order, starts), functions, tuple(maps), lines, kfuncs)

    def _names(self, order: tuple[int, ...], starts: dict[int, int]) -> dict[int, str]:
        """Returns a unique name for each function: linked objects may contain several static functions of one name."""
        found: dict[int, str] = {}
        taken: set[str] = set()
        for number in order:
            name = self._codes[number].name
            found[number] = name if name not in taken else f"{name}@{starts[number]}"
            taken.add(found[number])
        return found

    def _callers_first(self, order: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the functions with each after all functions that call it. In a recursion the order is arbitrary."""
        found: list[int] = []
        done: set[int] = set()
        stack = [(order[0], iter(self._targets(order[0])))]
        done.add(order[0])
        while stack:
            number, rest = stack[-1]
            following = next((target for target in rest if target not in done), None)
            if following is None:
                found.append(number)
                stack.pop()
            else:
                done.add(following)
                stack.append((following, iter(self._targets(following))))
        return tuple(reversed(found))

    def _targets(self, number: int) -> list[int]:
        references = self._codes[number].references.values()
        return [item.target for item in references if item.kind in (Refers.FUNCTION, Refers.ADDRESS)]

    def _interpret(self, order: tuple[int, ...], layout: Layout) -> dict[int, Seen]:
        """Interprets every function with the values that its callers pass. The arguments of callbacks are unknown."""
        entries: dict[int, tuple[Value, ...]] = {order[0]: (Context(0), None, None, None, None)}
        callbacks = {
            item.target
            for number in order
            for item in self._codes[number].references.values()
            if item.kind is Refers.ADDRESS
        }
        found: dict[int, Seen] = {}
        for number in order:
            given = entries.get(number, (None,) * 5)
            if number in callbacks:
                given = (None,) * 5
            elif self._codes[number].is_global and number != order[0]:
                # The verifier checks a global function on its own, without knowledge of what a caller passes.
                given = tuple(value if isinstance(value, Context) else Number(None) for value in given)
            key = (number, given, layout)
            if key not in self._seen:
                self._seen[key] = interpret(self._codes[number], self._graph(number), given, layout)
            found[number] = self._seen[key]
            for place, handed in found[number].arguments.items():
                target = self._codes[number].references[place].target
                known = entries.get(target)
                entries[target] = (
                    handed
                    if known is None
                    else tuple(join(one, two, True, False) for one, two in zip(known, handed, strict=True))
                )
        return found

    def _placed(self, order: tuple[int, ...], starts: dict[int, int]) -> tuple[Insn, ...]:
        """Returns the instructions of a program with their references filled in, in the form that the kernel gets.

        A map is represented by its number in the set's maps; a loader would put its file descriptor there.
        """
        found: list[Insn] = []
        first: dict[int, int] = {}
        position = 0
        for number in order:
            found += self._codes[number].instructions
            first[number] = position
            position += self._slots(number)[-1]
        for number in order:
            slots = self._slots(number)
            for place, reference in self._codes[number].references.items():
                at = starts[number] + place
                found[at] = self._resolved(found[at], reference, first, first[number] + slots[place])
        return tuple(found)

    def _slots(self, number: int) -> array[int]:
        """Returns the slot of each instruction of a function, followed by the function's length in slots."""
        if number not in self._positions:
            positions = array("I", (0,))
            position = 0
            for insn in self._codes[number].instructions:
                position += 2 if insn.code == _LD_IMM64 else 1
                positions.append(position)
            self._positions[number] = positions
        return self._positions[number]

    def _resolved(self, insn: Insn, reference: Reference, first: dict[int, int], slot: int) -> Insn:
        """Returns an instruction with its reference filled in. `first` has the slot where each function begins; `slot`
        is the slot of the instruction.
        """
        kind = reference.kind
        if kind in (Refers.FUNCTION, Refers.ADDRESS) and reference.target in first:
            distance = first[reference.target] - slot - 1
            if kind is Refers.FUNCTION:
                return insn._replace(src=_PSEUDO_CALL, off=0, imm=distance)
            return insn._replace(src=_PSEUDO_FUNC, imm=distance & 0xFFFFFFFF)
        if kind is Refers.MAP:
            return insn._replace(src=_PSEUDO_MAP, imm=self._map_numbers.get(reference.name, 0))
        if kind is Refers.VALUE:
            number = self._map_numbers.get(reference.name, 0)
            return insn._replace(src=_PSEUDO_VALUE, imm=reference.offset << 32 | number)
        if kind is Refers.HELPER:
            return insn._replace(src=0, imm=reference.target)
        return insn._replace(src=_PSEUDO_KFUNC) if kind is Refers.KFUNC else insn


class _FunctionFacts:
    """Derives the facts about one function. `start` is the index of its first instruction in the program."""

    def __init__(self, code: Code, graph: Graph, seen: Seen, start: int, names: dict[int, str]) -> None:
        self._code = code
        self._graph = graph
        self._seen = seen
        self._start = start
        self._names = names
        self._block_of: dict[int, int] = {}
        places = [
            place for place, insn in enumerate(code.instructions) if insn.code in (_CALL, _CALL_REGISTER, _LD_IMM64)
        ]
        index = 0
        for place in places:
            while graph.blocks[index].end <= place:
                index += 1
            self._block_of[place] = index
        self._sure = surely_reached(graph, seen.undecided, set(self._block_of.values())) & seen.visited

    def _reach(self, place: int) -> Reach:
        return Reach.LIVE if self._block_of[place] in self._sure else Reach.MAYBE_DEAD

    def make(self, name: str, locks: dict[int, frozenset[str] | None]) -> Function:
        """Returns the facts about the function."""
        code, seen, start = self._code, self._seen, self._start
        calls: list[CallSite] = []
        callbacks: list[CallbackSite] = []
        helpers: list[HelperCall] = []
        tail_calls: list[TailCall] = []
        handed: set[int] = set()
        for place in self._block_of:
            insn = code.instructions[place]
            if insn.code == _LD_IMM64:
                continue
            reach, at = self._reach(place), start + place
            helper, kfunc, target = _callee(insn, code.references.get(place))
            if target is not None:
                calls.append(CallSite(at, self._names[target], reach))
            elif helper == HELPER_TAIL_CALL:
                tail_calls.append(self._tail_call(place, locks.get(place)))
            else:
                helpers.append(HelperCall(at, helper, kfunc, reach))
            for function in seen.addresses.get(place, ()):
                handed.add(function)
                callbacks.append(CallbackSite(at, self._names[function], helper, reach))
        for place, reference in code.references.items():
            if reference.kind is Refers.ADDRESS and reference.target not in handed:
                # The address is used elsewhere, for example stored in a struct.
                callbacks.append(CallbackSite(start + place, self._names[reference.target], None, self._reach(place)))
        crossed = None if seen.crossed is None else tuple(sorted(start + place for place in seen.crossed))
        return Function(
            name,
            start,
            start + len(code.instructions),
            seen.stack,
            code.is_global,
            tuple(calls),
            tuple(sorted(callbacks)),
            tuple(helpers),
            tuple(tail_calls),
            crossed,
        )

    def _tail_call(self, place: int, locks: frozenset[str] | None) -> TailCall:
        chosen, key = self._seen.tail_calls.get(place, (None, None))
        return TailCall(
            self._start + place,
            chosen.name if isinstance(chosen, MapPointer) else None,
            key if isinstance(key, int) else None,
            self._reach(place),
            locks,
            not isinstance(key, int) and (may_be_constant(key) or not self._seen.complete),
        )


def _callee(insn: Insn, reference: Reference | None) -> tuple[int | None, str | None, int | None]:
    """Returns what an instruction calls: the number of a helper, the name of a kfunc or the index of a function."""
    if reference is None:
        return (insn.imm if insn.code == _CALL and insn.src == 0 else None), None, None
    if reference.kind is Refers.FUNCTION:
        return None, None, reference.target
    if reference.kind is Refers.HELPER:
        return reference.target, None, None
    return None, reference.name or None, None
