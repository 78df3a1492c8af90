"""The lines of a C file: joining continued ones, blanking comments, finding those of the preprocessor.

Line numbers stay the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.conditionals import blank

__all__ = ["Directive", "directives", "splice", "uncommented"]

_SPLICE = re.compile(rb"\\[ \t\f\v]*\n")
_COMMENT_OR_TEXT = re.compile(
    rb"/\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/|\Z)|//[^\n]*+"
    rb"|\"[^\"\\\n]*+(?:\\[^\n][^\"\\\n]*+)*+\"?|'[^'\\\n]*+(?:\\[^\n][^'\\\n]*+)*+'?"
)
"""Written without alternatives for each character, which take twice the time."""
_DIRECTIVE = re.compile(rb"#[ \t\f\v]*(\w*)([^\n]*)")
_ODD_DIRECTIVE = re.compile(rb"(?:#|%:)[ \t\f\v]*(\w*)([^\n]*)")
"""Begin with the mark of a directive, because that is found faster than the start of a line, and one byte much faster
than two forms. The text before the mark must be blank.
"""
_BLANKS = b" \t\f\v"


class Directive(NamedTuple):
    """A preprocessor line: its start and end, its word, and the text after the word."""

    start: int
    end: int
    word: bytes
    rest: bytes


def directives(text: bytes) -> Iterator[Directive]:
    """Yields the preprocessor lines of a text without comments, in order."""
    for match in (_ODD_DIRECTIVE if b"%:" in text else _DIRECTIVE).finditer(text):
        start = text.rfind(b"\n", 0, match.start()) + 1
        if not text[start : match.start()].strip(_BLANKS):
            yield Directive(start, match.end(), match.group(1), match.group(2))


def splice(text: bytes) -> bytes:
    """Returns the text with continued lines joined. The line breaks follow the joined line, so that the numbers of
    lines stay right.
    """
    out: list[bytes] = []
    position = 0
    for match in _SPLICE.finditer(text):
        if match.start() < position:
            continue
        start = max(position, text.rfind(b"\n", position, match.start()) + 1)
        end = _end_of_lines(text, match.end())
        lines = text[start:end]
        out += [text[position:start], _SPLICE.sub(b"", lines.removesuffix(b"\n")), b"\n" * lines.count(b"\n")]
        position = end
    return b"".join((*out, text[position:])) if out else text


def _end_of_lines(text: bytes, start: int) -> int:
    """Returns the end of the first line from a position on that is not continued, behind its line break."""
    while True:
        end = text.find(b"\n", start)
        if end < 0:
            return len(text)
        if not text[start:end].rstrip(_BLANKS).endswith(b"\\"):
            return end + 1
        start = end + 1


def uncommented(text: bytes) -> tuple[bytes, bytes]:
    """Returns the text with its comments blanked, and the same with strings and characters blanked too."""
    kept: list[bytes] = []
    bare: list[bytes] = []
    position = 0
    for match in _COMMENT_OR_TEXT.finditer(text):
        found = match.group()
        nothing = blank(found) if b"\n" in found else b" " * len(found)
        before = text[position : match.start()]
        kept += (before, nothing if found[:1] == b"/" else found)
        bare += (before, nothing)
        position = match.end()
    rest = text[position:]
    return b"".join((*kept, rest)), b"".join((*bare, rest))
