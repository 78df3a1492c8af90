"""The calls, callbacks, helpers and tail calls in the code of one function, as facts.

A function that many programs share is looked through once. In each program, its instructions have other indexes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tailcall_audit.analyzer.programs.code import Code, Reference, Refers
from tailcall_audit.analyzer.programs.flow import Graph, opcodes_of, surely_reached
from tailcall_audit.analyzer.programs.seen import Seen
from tailcall_audit.analyzer.programs.types import (
    CallbackSite,
    CallSite,
    Function,
    HelperCall,
    Reach,
    TailCall,
)
from tailcall_audit.analyzer.programs.values import MapPointer, may_be_constant
from tailcall_audit.probes.kernel.assembler import HELPER_TAIL_CALL
from tailcall_audit.probes.kernel.instructions import Insn

__all__ = ["Sites", "sites_of"]

_LD_IMM64, _CALL, _CALL_REGISTER = 0x18, 0x85, 0x8D
_PSEUDO_CALL = 1
_LOOKED_AT = re.compile(b"[%c%c%c]" % (_LD_IMM64, _CALL, _CALL_REGISTER))
_DIVISION = re.compile(rb"[\x3c\x3f\x9c\x9f]")
"""Matches the opcodes of a division or a modulo by a register."""
_LOAD = re.compile(b"[%s]" % re.escape(bytes(range(1, 256, 8))))
"""Matches the opcodes of loads from memory (BPF_LDX)."""
_new = tuple.__new__
"""Makes a named tuple without the check of its fields: a large object has half a million."""
_Held = dict[int, frozenset[str] | None]
"""The locks held at tail calls, by instruction of the function. One that is missing could not be decided."""


class _Target(NamedTuple):
    """A call of a function of the object, or a callback, by the function's index."""

    at: int
    target: int
    helper: int | None
    reach: Reach


class Sites(NamedTuple):
    """What a function does, by the indexes of its own instructions."""

    code: Code
    seen: Seen
    calls: tuple[_Target, ...]
    callbacks: tuple[_Target, ...]
    helpers: tuple[tuple[int, int | None, str | None, Reach], ...]
    tail_calls: tuple[TailCall, ...]
    division: int | None
    rewritable: int | None

    def function(self, name: str, start: int, names: dict[int, str], held: _Held) -> Function:
        """Returns the facts about the function in a program where it begins at the instruction `start`. `names` are
        those of the program's functions by their indexes.
        """
        crossed = self.seen.crossed
        return Function(
            name,
            start,
            start + len(self.code.instructions),
            self.seen.stack,
            self.code.is_global,
            tuple([_new(CallSite, (start + at, names[target], reach)) for at, target, _, reach in self.calls]),
            tuple(
                sorted(
                    (
                        CallbackSite(start + at, names[target], helper, reach)
                        for at, target, helper, reach in self.callbacks
                    ),
                    key=lambda site: site[:2],
                )
            ),
            tuple([_new(HelperCall, (start + at, helper, kfunc, reach)) for at, helper, kfunc, reach in self.helpers]),
            tuple(
                [
                    _new(TailCall, (start + call[0], call[1], call[2], call[3], held.get(call[0]), call[5]))
                    for call in self.tail_calls
                ]
            ),
            None if crossed is None else tuple(sorted(start + place for place in crossed)),
            self.seen.returned if isinstance(self.seen.returned, int) else None,
            None if self.division is None else start + self.division,
            None if self.rewritable is None else start + self.rewritable,
        )


class _Reaches:
    """How sure it is that the verifier keeps each call, and each instruction that loads an address."""

    def __init__(self, code: Code, graph: Graph, seen: Seen) -> None:
        self.opcodes = opcodes_of(code.instructions)
        self.places = [match.start() for match in _LOOKED_AT.finditer(self.opcodes)]
        self._block_of: dict[int, int] = {}
        index = 0
        blocks = graph.blocks
        for place in self.places:
            while blocks[index].end <= place:
                index += 1
            self._block_of[place] = index
        self._sure = surely_reached(graph, seen.undecided, set(self._block_of.values())) & seen.visited

    def of(self, place: int) -> Reach:
        return Reach.LIVE if self._block_of[place] in self._sure else Reach.MAYBE_DEAD


def sites_of(code: Code, graph: Graph, seen: Seen) -> Sites:
    """Returns what a function does."""
    reaches = _Reaches(code, graph, seen)
    calls: list[_Target] = []
    callbacks: list[_Target] = []
    helpers: list[tuple[int, int | None, str | None, Reach]] = []
    tail_calls: list[TailCall] = []
    handed: set[int] = set()
    for place in reaches.places:
        insn = code.instructions[place]
        if insn.code == _LD_IMM64:
            continue
        reach = reaches.of(place)
        helper, kfunc, target = _callee(insn, code.references.get(place))
        if target is not None:
            calls.append(_Target(place, target, None, reach))
        elif helper == HELPER_TAIL_CALL:
            tail_calls.append(_tail_call(seen, place, reach))
        else:
            helpers.append((place, helper, kfunc, reach))
        for function in seen.addresses.get(place, ()):
            handed.add(function)
            callbacks.append(_Target(place, function, helper, reach))
    for place, reference in code.references.items():
        if reference.kind is Refers.ADDRESS and reference.target not in handed:
            # The address is used elsewhere, for example stored in a struct.
            callbacks.append(_Target(place, reference.target, None, reaches.of(place)))
    return Sites(
        code, seen, tuple(calls), tuple(callbacks), tuple(helpers), tuple(tail_calls), *_rewritten(code, reaches)
    )


def _rewritten(code: Code, reaches: _Reaches) -> tuple[int | None, int | None]:
    """Returns the first instruction that the verifier rewrites for sure, and the first that it may rewrite."""
    division, load = _DIVISION.search(reaches.opcodes), _LOAD.search(reaches.opcodes)
    called = (place for place in reaches.places if _may_be_inlined(code, place))
    found = [item.start() for item in (division, load) if item is not None]
    found += [place for place in (next(called, None),) if place is not None]
    return (None if division is None else division.start()), min(found, default=None)


def _may_be_inlined(code: Code, place: int) -> bool:
    """Returns True for a call of a helper or a kfunc."""
    insn, reference = code.instructions[place], code.references.get(place)
    if insn.code != _CALL or (reference is not None and reference.kind is Refers.FUNCTION):
        return False
    return insn.src != _PSEUDO_CALL or (reference is not None and reference.kind in (Refers.HELPER, Refers.KFUNC))


def _tail_call(seen: Seen, place: int, reach: Reach) -> TailCall:
    chosen, key = seen.tail_calls.get(place, (None, None))
    return TailCall(
        place,
        chosen.name if isinstance(chosen, MapPointer) else None,
        key if isinstance(key, int) else None,
        reach,
        None,
        not isinstance(key, int) and (may_be_constant(key) or not seen.complete),
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
