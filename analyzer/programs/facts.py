"""Derives the facts about a program from the code of its functions: calls, tail calls, and values that are kept across
calls.

A function that several programs share is interpreted once for each combination of argument values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import Code, Reference, Refers
from tailcall_audit.analyzer.programs.flow import Graph, graph_of, slots_of
from tailcall_audit.analyzer.programs.locks import Calls, calls_in, held_at_tail_calls
from tailcall_audit.analyzer.programs.registers import interpret
from tailcall_audit.analyzer.programs.seen import Layout, Seen
from tailcall_audit.analyzer.programs.sites import Sites, sites_of
from tailcall_audit.analyzer.programs.types import Function, SourceLine
from tailcall_audit.analyzer.programs.values import Context, Number, Value, join
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["Facts", "Workshop"]

_LD_IMM64 = 0x18
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


class _Filled(NamedTuple):
    """A function's instructions with all references filled in that are the same in each program. `leaving` are those to
    other functions, by instruction, and `slots` the slots of these; `length` is in slots.
    """

    instructions: list[Insn]
    leaving: dict[int, Reference]
    slots: dict[int, int]
    length: int
    maps: tuple[str, ...]
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
        self._calls: dict[int, Calls] = {}
        self._seen: dict[tuple[int, tuple[Value, ...], Layout], Seen] = {}
        self._sites: dict[tuple[int, int], Sites] = {}
        self._filled: dict[int, _Filled] = {}
        self._leaving: dict[int, tuple[int, ...]] = {}

    def _graph(self, number: int) -> Graph:
        if number not in self._graphs:
            self._graphs[number] = graph_of(self._codes[number].instructions)
        return self._graphs[number]

    def _calls_in(self, number: int) -> Calls:
        if number not in self._calls:
            self._calls[number] = calls_in(self._codes[number])
        return self._calls[number]

    def _sites_of(self, number: int, seen: Seen) -> Sites:
        key = (number, id(seen))  # `_seen` keeps each of these
        if key not in self._sites:
            self._sites[key] = sites_of(self._codes[number], self._graph(number), seen)
        return self._sites[key]

    def order(self, main: int) -> tuple[int, ...]:
        """Returns the functions of a program in the order in which libbpf lays them out: depth first, each where it is
        first referred to.
        """
        found: dict[int, None] = {main: None}
        # An explicit stack of iterators replaces recursion, because a file can nest calls to any depth.
        stack = [iter(self._targets(main))]
        while stack:
            target = next(stack[-1], None)
            if target is None:
                stack.pop()
            elif target not in found:
                found[target] = None
                stack.append(iter(self._targets(target)))
        return tuple(found)

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
            for item in self._filled_in(number).leaving.values()
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
            self._sites_of(number, seen[number]).function(names[number], starts[number], names, locks[number])
            for number in order
        )
        maps = dict.fromkeys(name for number in order for name in self._filled_in(number).maps)
        lines: dict[int, SourceLine] = {}
        for number in order:
            own = self._codes[number].lines
            lines.update(zip(map(starts[number].__add__, own), own.values(), strict=True))
        kfuncs = frozenset(name for number in order for name in self._filled_in(number).kfuncs)
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

    def _targets(self, number: int) -> tuple[int, ...]:
        """Returns the functions that a function calls or takes the address of, each once, in order."""
        if number not in self._leaving:
            leaving = sorted(self._filled_in(number).leaving.items())
            self._leaving[number] = tuple(dict.fromkeys(item.target for _, item in leaving))
        return self._leaving[number]

    def _interpret(self, order: tuple[int, ...], layout: Layout) -> dict[int, Seen]:
        """Interprets every function with the values that its callers pass. The arguments of callbacks are unknown."""
        entries: dict[int, tuple[Value, ...]] = {order[0]: (Context(0), None, None, None, None)}
        callbacks = {
            item.target
            for number in order
            for item in self._filled_in(number).leaving.values()
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
            filled = self._filled_in(number)
            found += filled.instructions
            first[number] = position
            position += filled.length
        for number in order:
            filled = self._filled_in(number)
            for place, reference in filled.leaving.items():
                if reference.target not in first:
                    continue
                distance = first[reference.target] - first[number] - filled.slots[place] - 1
                at = starts[number] + place
                code, dst, _, off, _ = found[at]
                found[at] = (
                    Insn(code, dst, _PSEUDO_CALL, 0, distance)
                    if reference.kind is Refers.FUNCTION
                    else Insn(code, dst, _PSEUDO_FUNC, off, distance & 0xFFFFFFFF)
                )
        return tuple(found)

    def _filled_in(self, number: int) -> _Filled:
        if number not in self._filled:
            self._filled[number] = self._fill_in(self._codes[number])
        return self._filled[number]

    def _fill_in(self, code: Code) -> _Filled:
        instructions = list(code.instructions)
        leaving = {}
        for place, reference in code.references.items():
            if reference.kind in (Refers.FUNCTION, Refers.ADDRESS):
                leaving[place] = reference
            else:
                instructions[place] = self._resolved(instructions[place], reference)
        starts = slots_of(code.instructions)
        slots = {place: starts[place] for place in leaving}
        length = starts[-1] + 1 + (code.instructions[-1].code == _LD_IMM64) if starts else 0
        references = code.references.values()
        maps = tuple(
            dict.fromkeys(item.name for item in references if item.kind in (Refers.MAP, Refers.VALUE) and item.name)
        )
        kfuncs = frozenset(item.name for item in references if item.kind is Refers.KFUNC)
        return _Filled(instructions, leaving, slots, length, maps, kfuncs)

    def _resolved(self, insn: Insn, reference: Reference) -> Insn:
        """Returns an instruction with its reference to a map, helper or kfunc filled in."""
        kind = reference.kind
        if kind is Refers.MAP:
            return insn._replace(src=_PSEUDO_MAP, imm=self._map_numbers.get(reference.name, 0))
        if kind is Refers.VALUE:
            number = self._map_numbers.get(reference.name, 0)
            return insn._replace(src=_PSEUDO_VALUE, imm=reference.offset << 32 | number)
        if kind is Refers.HELPER:
            return insn._replace(src=0, imm=reference.target)
        return insn._replace(src=_PSEUDO_KFUNC) if kind is Refers.KFUNC else insn
