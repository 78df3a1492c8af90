"""How a regular expression's time grows with its input, decided by its parse tree; nothing is timed.

Python's engine tries one way after the other, so the time of a failure is the number of ways in which a beginning of
the input can be read. That number is bounded, grows as a power of the length, or doubles with each character, by two
criteria about the automaton of positions (Weber and Seidl, "On the degree of ambiguity of finite automata", 1991):

    exponential    there is a state with two different ways back to itself that read the same word
    polynomial     there are states p and q and a word that leads from p to p, from p to q and from q to q

A search is a match behind "any text": its first state reads everything. Bounded repetitions count as a few copies, for
they have no loop; what an atomic group has read is not read in another way for what is behind it; a look-around is a
search of its own.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from enum import IntEnum
from functools import cache
from itertools import product
from typing import Any, NamedTuple

# The parser of re has no public name.
sre: Any = importlib.import_module("re._constants")
parser: Any = importlib.import_module("re._parser")

_SAMPLE = [*map(chr, range(128)), "\x85", "\xa0", "é", "ß", "٣", "\u2028", "\u3000", "\U0001d7d9"]
"""One of each kind of character that re has a class for, beside those of ASCII."""
_COPIES = 3


class Growth(IntEnum):
    """The time of a failure, by the length of the input."""

    LINEAR = 1
    POLYNOMIAL = 2
    EXPONENTIAL = 3


class Fragment(NamedTuple):
    """A part of an expression: whether it reads nothing, and the positions that can come first and last. Each way
    counts.
    """

    nullable: bool
    first: Counter[int]
    last: Counter[int]


class Automaton:
    """The positions of an expression: the characters that each reads, and in how many ways another follows it."""

    def __init__(self, flags: int, binary: bool) -> None:
        self.reads: list[frozenset[str]] = []
        self.follow: list[Counter[int]] = []
        self.parts: list[Any] = []
        self.atomic: list[frozenset[int]] = []
        self._open: frozenset[int] = frozenset()
        self._groups = 0
        self.anchored_end = False
        self._flags = flags
        self._binary = binary

    def position(self, code: str) -> Fragment:
        """Adds a position that reads what a one-character expression matches."""
        self.reads.append(_members(code, self._flags, self._binary))
        self.follow.append(Counter())
        self.atomic.append(self._open)
        number = len(self.reads) - 1
        return Fragment(False, Counter([number]), Counter([number]))

    def once(self, body: Any) -> Fragment:
        """A body that is read in one way: what is behind it does not make the engine try another."""
        before = self._open
        self._groups += 1
        self._open = before | {self._groups}
        found = _build(self, body)
        self._open = before
        return found

    def sequence(self, one: Fragment, other: Fragment) -> Fragment:
        """One behind the other."""
        for position, ways in one.last.items():
            for then, more in other.first.items():
                self.follow[position][then] += ways * more
        return Fragment(
            one.nullable and other.nullable,
            one.first + (other.first if one.nullable else Counter()),
            other.last + (one.last if other.nullable else Counter()),
        )

    def loop(self, body: Fragment) -> Fragment:
        """A body repeated without an end."""
        for position, ways in body.last.items():
            for then, more in body.first.items():
                self.follow[position][then] += ways * more
        return body._replace(nullable=True)


EMPTY = Fragment(True, Counter(), Counter())


@cache
def _members(code: str, flags: int, binary: bool) -> frozenset[str]:
    if binary:
        compiled = re.compile(code.encode("latin-1"), flags & ~re.UNICODE)
        return frozenset(char for char in map(chr, range(256)) if compiled.fullmatch(char.encode("latin-1")))
    compiled_text = re.compile(code, flags)
    return frozenset(char for char in _SAMPLE if compiled_text.fullmatch(char))


def _escaped(number: int) -> str:
    return re.escape(chr(number))


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}


def _class(items: Any) -> str:
    out = ""
    for kind, value in items:
        name = str(kind)
        if name == "NEGATE":
            out += "^"
        elif name == "LITERAL":
            out += _escaped(value)
        elif name == "RANGE":
            out += f"{_escaped(value[0])}-{_escaped(value[1])}"
        else:
            out += _CATEGORIES[str(value)]
    return f"[{out}]"


def _build(automaton: Automaton, tree: Any) -> Fragment:
    found = EMPTY
    for kind, value in tree:
        found = automaton.sequence(found, _item(automaton, str(kind), value))
    return found


def _item(automaton: Automaton, kind: str, value: Any) -> Fragment:
    if kind == "LITERAL":
        return automaton.position(_escaped(value))
    if kind == "NOT_LITERAL":
        return automaton.position(f"[^{_escaped(value)}]")
    if kind == "ANY":
        return automaton.position(".")
    if kind == "IN":
        return automaton.position(_class(value))
    if kind in ("MAX_REPEAT", "MIN_REPEAT"):
        return _repeat(automaton, *value)
    if kind == "POSSESSIVE_REPEAT":
        return automaton.once([(sre.MAX_REPEAT, value)])
    if kind == "SUBPATTERN":
        return _build(automaton, value[3])
    if kind == "ATOMIC_GROUP":
        return automaton.once(value)
    if kind == "BRANCH":
        return _branch(automaton, value[1])
    if kind in ("ASSERT", "ASSERT_NOT"):
        automaton.parts.append(value[1])
        return EMPTY
    if kind == "AT":
        automaton.anchored_end |= str(value) in ("AT_END", "AT_END_STRING")
        return EMPTY
    if kind == "GROUPREF_EXISTS":
        return _branch(automaton, [value[1], value[2] or []])
    if kind == "GROUPREF":
        return automaton.loop(automaton.position("(?s:.)"))
    raise NotImplementedError(kind)


def _branch(automaton: Automaton, branches: Any) -> Fragment:
    parts = [_build(automaton, branch) for branch in branches]
    first: Counter[int] = sum((part.first for part in parts), Counter())
    last: Counter[int] = sum((part.last for part in parts), Counter())
    return Fragment(any(part.nullable for part in parts), first, last)


def _repeat(automaton: Automaton, least: int, most: int, body: Any) -> Fragment:
    found = EMPTY
    for _ in range(min(int(least), _COPIES)):
        found = automaton.sequence(found, _build(automaton, body))
    if most == sre.MAXREPEAT:
        if least:
            # x+ is x with a way back: a second copy would be read in two ways.
            return (
                automaton.loop(_build(automaton, body))._replace(nullable=_nullable(body))
                if least == 1
                else (automaton.sequence(found, automaton.loop(_build(automaton, body))))
            )
        return automaton.loop(_build(automaton, body))
    rest = EMPTY
    for _ in range(min(int(most) - int(least), _COPIES)):
        # (x(x(x)?)?)?: each copy only behind the one before it.
        part = automaton.sequence(_build(automaton, body), rest)
        rest = part._replace(nullable=True)
    return automaton.sequence(found, rest)


def _nullable(body: Any) -> bool:
    return _build(Automaton(0, False), body).nullable


def growth(pattern: str | bytes, flags: int = 0, *, searched: bool, whole: bool = False) -> Growth:
    """Returns how the time grows of a search, of a match at the start, or of a match of the `whole` text."""
    tree = parser.parse(pattern, flags)
    binary = isinstance(pattern, bytes)
    return _growth(tree, tree.state.flags, binary, searched=searched, whole=whole)


def _starts_at_start(tree: Any) -> bool:
    return bool(len(tree)) and str(tree[0][0]) == "AT" and str(tree[0][1]) in ("AT_BEGINNING", "AT_BEGINNING_STRING")


def _growth(tree: Any, flags: int, binary: bool, *, searched: bool, whole: bool) -> Growth:
    automaton = Automaton(flags, binary)
    body = _build(automaton, tree)
    if searched and (bool(flags & re.MULTILINE) or not _starts_at_start(tree)):
        _put_behind_any_text(automaton, tree, body)
    # If a match of a beginning is enough, a state that may be the last ends the search for ways.
    ends = set() if whole or automaton.anchored_end else set(body.last)
    found = max(_decided(automaton, ends), Growth.LINEAR)
    for part in automaton.parts:
        found = max(found, _growth(part, flags, binary, searched=True, whole=False))
    return found


def _put_behind_any_text(automaton: Automaton, tree: Any, body: Fragment) -> None:
    """Adds states that read any text, and lets the body follow those where its anchor holds."""
    anchor = str(tree[0][1]) if len(tree) and str(tree[0][0]) == "AT" else ""
    kinds = [automaton.position(code) for code in (r"\n", r"\w", r"[^\w\n]")]
    states = [next(iter(kind.first)) for kind in kinds]
    word = states[1]
    for state in states:
        automaton.follow[state] += Counter(states)
        for then in body.first:
            reads_word = automaton.reads[then] <= automaton.reads[word]
            reads_other = not automaton.reads[then] & automaton.reads[word]
            at_line = anchor in ("AT_BEGINNING", "AT_BEGINNING_STRING") and state != states[0]
            at_word = anchor == "AT_BOUNDARY" and ((reads_word and state == word) or (reads_other and state != word))
            if not at_line and not at_word:
                automaton.follow[state][then] += 1


def _decided(automaton: Automaton, ends: set[int]) -> Growth:
    moves = automaton.follow
    reach = _reachable(moves)
    looping = [state for state in range(len(moves)) if state in reach[state]]
    # If a circle leads through a state that may be the last, a failure ends there.
    safe = {state for state in looping if any(then in ends and state in reach[then] for then in reach[state])}
    for state in looping:
        if state not in safe and _two_ways_back(automaton, reach, state):
            return Growth.EXPONENTIAL
    for one, other in product(looping, looping):
        if one == other or one in safe or other in safe or other not in reach[one]:
            continue
        if not automaton.atomic[one] - automaton.atomic[other] and _pumped(automaton, reach, one, other):
            return Growth.POLYNOMIAL
    return Growth.LINEAR


def _reachable(moves: list[Counter[int]]) -> list[set[int]]:
    found = []
    for start in range(len(moves)):
        seen: set[int] = set()
        waiting = [start]
        while waiting:
            for then in moves[waiting.pop()]:
                if then not in seen:
                    seen.add(then)
                    waiting.append(then)
        found.append(seen)
    return found


def _two_ways_back(automaton: Automaton, reach: list[set[int]], state: int) -> bool:
    """Returns True if one word leads from a state back to it in two ways: by an edge that counts twice, or by two
    states at a time.
    """
    circle = {then for then in reach[state] if state in reach[then]}
    seen: set[tuple[int, int, bool]] = {(state, state, False)}
    waiting = [(state, state, False)]
    while waiting:
        one, other, parted = waiting.pop()
        for a, ways in automaton.follow[one].items():
            for b, more in automaton.follow[other].items():
                if a not in circle or b not in circle or not automaton.reads[a] & automaton.reads[b]:
                    continue
                twice = parted or a != b or (one == other and a == b and ways > 1 and more > 1)
                if twice and a == b == state:
                    return True
                if (a, b, twice) not in seen:
                    seen.add((a, b, twice))
                    waiting.append((a, b, twice))
    return False


def _pumped(automaton: Automaton, reach: list[set[int]], p: int, q: int) -> bool:
    """Returns True if one word leads from p to p, from p to q, and from q to q."""
    first = {then for then in reach[p] if p in reach[then]}
    last = {then for then in reach[q] if q in reach[then]}
    middle = {then for then in reach[p] if q in reach[then] or then == q}
    seen = {(p, p, q)}
    waiting = [(p, p, q)]
    while waiting:
        one, two, three = waiting.pop()
        for c in automaton.follow[three]:
            if c not in last:
                continue
            for a in automaton.follow[one]:
                if a not in first or not (common := automaton.reads[a] & automaton.reads[c]):
                    continue
                for b in automaton.follow[two]:
                    if b not in middle or not common & automaton.reads[b]:
                        continue
                    if (a, b, c) == (p, q, q):
                        return True
                    if (a, b, c) not in seen:
                        seen.add((a, b, c))
                        waiting.append((a, b, c))
    return False
