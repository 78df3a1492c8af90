"""Finds where C source defines functions and structs. The source is given as `CText.skeleton` has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tailcall_audit.analyzer.kernelfiles.cscope import KEYWORDS

__all__ = ["function_starts", "occurrences", "struct_starts", "written_functions"]

_WRITTEN = re.compile(rb"\n[A-Za-z_][^\n;{}=]*?\b(\w+)\(")
_ATTRIBUTES = re.compile(rb"\s*+(?:[A-Za-z_]\w*+\s*+(?:\([^(){};]{0,200}\)\s*+)?){0,6}\{")
_OLD_STYLE = re.compile(rb"\s*(?:[A-Za-z_][\w\s*,\[\]]{0,300};\s*){1,20}\{")
_PARAMETERS = re.compile(rb"\s*(?:\)\s*)?\(")
_OPENED = re.compile(rb"\s*\{")
_STRUCT_HEAD = re.compile(rb"\bstruct\s+(?:__\w+\s+)?\Z")
_WORD_BYTE = re.compile(rb"\w")
_MAX_OCCURRENCES = 2000
"""No function of the kernel is named more often in one file. Further occurrences are not looked at, and make the name
odd.
"""
_MAX_PARAMETERS = 4000


def occurrences(text: bytes, name: bytes) -> Iterator[int]:
    """Yields where a name occurs as a whole word."""
    position = text.find(name)
    while position >= 0:
        around = text[max(0, position - 1) : position] + text[position + len(name) : position + len(name) + 1]
        if _WORD_BYTE.search(around) is None:
            yield position
        position = text.find(name, position + 1)


def _closing(text: bytes, opening: int) -> int:
    """Returns the parenthesis that closes the one at a position; -1 if there is none within bounds."""
    depth = 0
    for position in range(opening, min(len(text), opening + _MAX_PARAMETERS)):
        byte = text[position]
        if byte == 0x28:
            depth += 1
        elif byte == 0x29:
            depth -= 1
            if depth == 0:
                return position
        elif byte in b";{}":
            return -1
    return -1


def _is_call(before: bytes) -> bool:
    """Returns True if the text before a name makes it a call: an operator or a keyword."""
    words = re.findall(rb"\w+", before)
    return (
        b"=" in before
        or before.rstrip().endswith((b",", b"&&", b"||", b"!", b"?", b".", b">"))
        or bool(words and words[-1] in KEYWORDS)
    )


def struct_starts(text: bytes, name: str) -> Iterator[tuple[int, int]]:
    """Yields where a struct is defined: its first byte and its brace."""
    for position in occurrences(text, name.encode()):
        brace = _OPENED.match(text, position + len(name))
        head = _STRUCT_HEAD.search(text, max(0, position - 80), position) if brace is not None else None
        if brace is not None and head is not None:
            yield head.start(), brace.end() - 1


def function_starts(text: bytes, name: str) -> Iterator[tuple[int, int]]:
    """Yields where a function is defined, in any style: the first byte of the line that names it, and its brace
    (-1: odd).
    """
    encoded = name.encode()
    for number, position in enumerate(occurrences(text, encoded)):
        if number >= _MAX_OCCURRENCES:
            yield position, -1
            return
        match = _PARAMETERS.match(text, position + len(encoded))
        if match is None:
            continue
        begin = max(0, position - 500)
        start = max(begin, *(text.rfind(mark, begin, position) + 1 for mark in (b"\n", b";", b"{", b"}")))
        before = text[start:position]
        end = -1 if before.lstrip().startswith((b"#", b"%:")) else _closing(text, match.end() - 1)
        if end < 0 or _is_call(before):
            continue
        behind = _ATTRIBUTES.match(text, end + 1)
        if behind is not None:
            yield start, behind.end() - 1
        elif _OLD_STYLE.match(text, end + 1):
            yield start, -1


def written_functions(text: bytes) -> set[str]:
    """Returns the names that the text may define as functions."""
    return {match.group(1).decode("ascii", "replace") for match in _WRITTEN.finditer(b"\n" + text)}
