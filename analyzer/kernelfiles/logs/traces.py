"""Reads oopses, lockups and stalls from a kernel log: the kind, the function that failed, and its callers.

The kernel's messages (Linux arch/*/mm/fault.c, lib/bug.c, mm/kasan/report.c, kernel/watchdog.c,
kernel/rcu/tree_stall.h) are followed by registers and a stack of ``function+0x2a/0x140``.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

__all__ = ["MOST_LINES", "Trace", "TraceKind", "TraceReader"]

MOST_LINES = 400
"""The maximum number of lines in a trace: registers, a stack, and the stacks of other processors."""


class TraceKind(Enum):
    """The kinds of errors."""

    NULL_DEREFERENCE = "null-dereference"
    FAULT = "fault"
    BUG = "bug"
    KASAN = "kasan"
    SOFT_LOCKUP = "soft-lockup"
    RCU_STALL = "rcu-stall"


_HEADS = (
    ("NULL pointer dereference", TraceKind.NULL_DEREFERENCE),
    ("BUG: KASAN: null-ptr-deref", TraceKind.NULL_DEREFERENCE),
    ("KASAN: null-ptr-deref", TraceKind.NULL_DEREFERENCE),
    ("BUG: KASAN: ", TraceKind.KASAN),
    ("kernel BUG at ", TraceKind.BUG),
    ("soft lockup - CPU#", TraceKind.SOFT_LOCKUP),
    ("detected stall", TraceKind.RCU_STALL),
    ("detected expedited stall", TraceKind.RCU_STALL),
    ("general protection fault", TraceKind.FAULT),
    ("unable to handle page fault", TraceKind.FAULT),
    ("unable to handle kernel paging request", TraceKind.FAULT),
    ("Unable to handle kernel paging request", TraceKind.FAULT),
)
"""The messages that begin a trace, the most specific first."""
_ENDS = ("---[ end trace", "Kernel panic - not syncing")
_OFFSET = re.compile(r"\+0x[0-9a-f]++/0x[0-9a-f]++", re.ASCII)
_POINTERS = ("RIP: ", "pc : ", "epc : ", "NIP [", "EIP: ", "PC is at ", "Krnl PSW", "era ", "ERA ")
"""The text before the function that the processor executed, by architecture."""
_KASAN_AT = " in "


class Trace(NamedTuple):
    """One trace: the kind of error, the line with its message (counted from 1), the function that the processor
    executed, and the functions on the stack, innermost first.
    """

    kind: TraceKind
    line: int
    at: str | None
    functions: tuple[str, ...]


def _plain(name: str) -> str:
    """Returns the name in the source, without the suffixes that compilers append: ``.isra.0``, ``.constprop.0``,
    ``.cold``.
    """
    return name.partition(".")[0]


def _function(line: str) -> tuple[str, int] | None:
    """Returns the function in a line of a stack (``name+0x2a/0x140``) and its position in the line; None if there is
    none.
    """
    place = line.find("+0x")
    if place < 0 or _OFFSET.match(line, place) is None:
        return None
    start = place
    while start > 0 and (line[start - 1].isalnum() or line[start - 1] in "_."):
        start -= 1
    return None if start == place else (_plain(line[start:place]), start)


def _head(line: str) -> TraceKind | None:
    if (
        "stall" not in line
        and "BUG" not in line
        and "fault" not in line
        and "nable to handle" not in line
        and "KASAN" not in line
    ):
        return None
    return next((kind for words, kind in _HEADS if words in line), None)


class TraceReader:
    """Reads traces from the lines of a log. The lines are passed one at a time."""

    def __init__(self) -> None:
        self._kind: TraceKind | None = None
        self._start = 0
        self._at: str | None = None
        self._functions: list[str] = []

    def take(self, line: str, number: int) -> Trace | None:
        """Returns the trace that ends with this line or before it, None if there is none."""
        kind = _head(line)
        if kind is not None and not self._goes_on(kind, number):
            found = self.end()
            self._kind, self._start, self._at = kind, number, None
            if kind is TraceKind.KASAN:
                place = _function(line.partition(_KASAN_AT)[2])
                self._at = None if place is None else place[0]
            return found
        if self._kind is None:
            return None
        if number - self._start > MOST_LINES or any(words in line for words in _ENDS):
            return self.end()
        self._add(line)
        return None

    def _goes_on(self, kind: TraceKind, number: int) -> bool:
        """Returns True if a second message belongs to the same error, as an oops does that follows KASAN's message."""
        return (
            self._kind is not None and number - self._start < 8 and not self._functions and kind is not TraceKind.KASAN
        )

    def _add(self, line: str) -> None:
        found = _function(line)
        if found is None:
            return
        name, start = found
        before = line[:start]
        if before.rstrip().endswith("?"):
            return  # a stale value on the stack, not a caller
        if self._at is None and any(words in before for words in _POINTERS):
            self._at = name
        self._functions.append(name)

    def end(self) -> Trace | None:
        """Returns the trace that was not finished when the log ended."""
        kind, self._kind = self._kind, None
        functions, self._functions = tuple(self._functions), []
        if kind is None or not functions:
            return None
        return Trace(kind, self._start, self._at or functions[0], functions)
