"""One definition of C code as tokens, without dead code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

import tree_sitter

from tailcall_audit.analyzer.kernelfiles.cconstant import parse_c
from tailcall_audit.analyzer.kernelfiles.ctokens import join_tokens, tokenize
from tailcall_audit.analyzer.kernelfiles.deadcode import without_dead_code

__all__ = ["KEYWORDS", "Scope"]

KEYWORDS = frozenset(
    b"if for while switch return sizeof do else case goto break continue typeof __typeof__ defined".split()
)


_CALLED = re.compile(rb"\0([A-Za-z_]\w*+)(?=\0\(\0)")


@dataclass(frozen=True)
class Scope:
    """A definition: its name, first line (1-based) and text.

    `texts` has the texts that the compiler may see, one for each combination of the conditionals in it; None if there
    are too many. `certain` is False if the whole definition depends on a conditional that cannot be decided. `position`
    is its first byte in the file. `oddity` is the reason if the definition cannot be read at all.
    """

    name: str
    line: int
    text: bytes
    texts: tuple[bytes, ...] | None = None
    certain: bool = True
    oddity: str | None = None
    is_function: bool = False
    position: int = 0

    @cached_property
    def streams(self) -> tuple[tuple[bytes, ...], ...]:
        """The tokens of each text, without dead code."""
        texts = (self.text,) if self.texts is None else self.texts
        return tuple(_live_tokens(text) if self.is_function else tuple(tokenize(text)) for text in texts)

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """The tokens of the first text."""
        return self.streams[0]

    @cached_property
    def joined(self) -> tuple[bytes, ...]:
        """The tokens of each text as one string, with a NUL before and after each token."""
        return tuple(join_tokens(stream) for stream in self.streams)

    @cached_property
    def words(self) -> frozenset[bytes]:
        """The set of tokens of all texts."""
        return frozenset().union(*self.streams)

    @cached_property
    def calls(self) -> set[str]:
        """The names that are followed by a parenthesis in the definition, except its own."""
        found = {name for text in self.joined for name in _CALLED.findall(text)} - KEYWORDS
        return {name.decode("ascii", "replace") for name in found} - {self.name}


def _function_node(text: bytes) -> tuple[bytes, tree_sitter.Node] | None:
    """Returns the syntax node of the function that a text defines, with the text that was parsed."""
    # The text lacks a return type if that is on the line before the name.
    for prefix in (b"", b"int "):
        whole = prefix + text
        for node in parse_c(whole).named_children:
            if node.type == "function_definition":
                return whole, node
    return None


@lru_cache(maxsize=512)
def _live_tokens(text: bytes) -> tuple[bytes, ...]:
    """Returns the tokens of a function without dead code. Cached, because a plan reads most functions of a tree twice:
    before and after its steps.
    """
    node = _function_node(text)
    live = None if node is None else without_dead_code(*node)
    return tuple(tokenize(live or text))
