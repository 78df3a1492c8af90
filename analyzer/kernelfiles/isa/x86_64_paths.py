"""Every path through a small x86-64 function, with the comparisons on it and its return value.

Registers are followed through copies, loads of a member of a known object, and calls; values from the stack or of
arithmetic are not known. A function with more paths than `_MAX_STEPS` allows is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.isa.flow import Flow
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import MEMORY, REGISTERS

__all__ = ["Fact", "Path", "Value", "paths"]

_MAX_STEPS = 20_000
_CLOBBERED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
"""The registers that a call may change (System V ABI)."""
_KEEPS_FLAGS = frozenset(("mov", "movzx", "movsx", "movsxd", "lea", "push", "pop", "nop", "jmp", "endbr64"))
_READS_ONLY = frozenset(("cmp", "test", "push", "nop", "jmp", "ret", "endbr64"))
_NUMBER = re.compile(r"-?(?:0x[0-9a-f]+|\d+)")
_WORD = 1 << 64


class Value(NamedTuple):
    """The value of a register: the result of the call at an instruction, a member of such an object, or a constant.

    `kind` is "call", "constant", or the caller's name for the member; `number` is the instruction's index, or the
    constant.
    """

    kind: str
    number: int


class Fact(NamedTuple):
    """The outcome of a conditional jump on a path: the compared value, the constant, the relation, and whether it held.

    `relation` is "equal" or "above" (unsigned).
    """

    value: Value
    constant: int
    relation: str
    holds: bool


class Path(NamedTuple):
    """A path to an end of the function: its return value, the facts on it, the members that it increased, those that it
    stored a value in, and the instructions on it by their indexes.
    """

    returned: Value | None
    facts: frozenset[Fact]
    increased: frozenset[Value]
    stored: frozenset[Value]
    passed: frozenset[int]


class _State(NamedTuple):
    at: int
    registers: Mapping[str, Value]
    compared: tuple[Value, int] | None
    facts: frozenset[Fact]
    increased: frozenset[Value]
    stored: frozenset[Value]
    passed: frozenset[int]


def paths(flow: Flow, members: Mapping[tuple[str, str, int], str]) -> list[Path] | None:
    """Returns all paths from a function's start to its ends; None if there are too many.

    `members` names the members that are loaded, or compared in memory, by the kind of the object, the width and the
    offset: ``("call", "qword", 56): "aux"``. The number of a member's value is that of the call that its object came
    from.
    """
    found: list[Path] = []
    waiting = [_State(0, {}, None, frozenset(), frozenset(), frozenset(), frozenset())]
    for _ in range(_MAX_STEPS):
        if not waiting:
            return found
        state = waiting.pop()
        if state.at in state.passed:
            continue  # a loop: the path has been here before
        after = _execute(flow.insns[state.at], state, members)
        following = list(_branches(flow, after))
        if not following:
            passed = after.passed | {after.at}
            found.append(Path(after.registers.get("rax"), after.facts, after.increased, after.stored, passed))
        waiting += following
    return None


def _branches(flow: Flow, state: _State) -> Iterator[_State]:
    """Yields the states that can come next."""
    passed = state.passed | {state.at}
    mnemonic = flow.insns[state.at].mnemonic
    relation = {"je": "equal", "jne": "equal", "ja": "above", "jbe": "above"}.get(mnemonic)
    target = flow.target(state.at)
    for step in flow.steps(state.at):
        facts = state.facts
        if relation is not None and state.compared is not None:
            holds = (step == target) == (mnemonic in ("je", "ja"))
            facts |= {Fact(*state.compared, relation, holds)}
        yield state._replace(at=step, facts=facts, passed=passed)


def _member(operand: str, state: _State, members: Mapping[tuple[str, str, int], str]) -> Value | None:
    """Returns the value of a memory operand whose object is known."""
    memory = MEMORY.fullmatch(operand)
    if memory is None:
        return None
    base = state.registers.get(REGISTERS.get(memory.group(2), ""))
    if base is None:
        return None
    name = members.get((base.kind, memory.group(1), int(memory.group(3) or "0", 0)))
    return None if name is None else Value(name, base.number)


def _value(operand: str, state: _State, members: Mapping[tuple[str, str, int], str]) -> Value | None:
    if _NUMBER.fullmatch(operand):
        number = int(operand, 0) % _WORD
        return Value("constant", number)
    if operand in REGISTERS:
        return state.registers.get(REGISTERS[operand])
    return _member(operand, state, members)


def _execute(insn: Insn, state: _State, members: Mapping[tuple[str, str, int], str]) -> _State:
    """Returns the state after an instruction."""
    first, last = insn.parts[0], insn.parts[-1]
    registers = dict(state.registers)
    if insn.mnemonic == "call":
        registers = {name: value for name, value in registers.items() if name not in _CLOBBERED}
        registers["rax"] = Value("call", state.at)
        return state._replace(registers=registers, compared=None)
    compared = state.compared if insn.mnemonic in _KEEPS_FLAGS or insn.mnemonic.startswith("j") else None
    if insn.mnemonic in ("cmp", "test"):
        compared = _compared(insn.mnemonic, first, last, state, members)
    increased = state.increased
    member = _member(first, state, members)
    if member is not None and (insn.mnemonic == "inc" or (insn.mnemonic == "add" and last == "1")):
        increased |= {member}
    stored = state.stored | {member} if member is not None and insn.mnemonic == "mov" else state.stored
    if insn.mnemonic not in _READS_ONLY and not insn.mnemonic.startswith("j") and first in REGISTERS:
        value = _value(last, state, members) if insn.mnemonic in ("mov", "movzx") else None
        if insn.mnemonic == "xor" and first == last:
            value = Value("constant", 0)
        registers.pop(REGISTERS[first], None)
        if value is not None:
            registers[REGISTERS[first]] = value
    return state._replace(registers=registers, compared=compared, increased=increased, stored=stored)


def _compared(
    mnemonic: str, first: str, last: str, state: _State, members: Mapping[tuple[str, str, int], str]
) -> tuple[Value, int] | None:
    value = _value(first, state, members)
    if value is None:
        return None
    if mnemonic == "test":
        return (value, 0) if first == last else None
    return (value, int(last, 0) % _WORD) if _NUMBER.fullmatch(last) else None
