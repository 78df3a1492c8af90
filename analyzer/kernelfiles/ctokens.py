"""Splits C code into tokens. White space, comments and line breaks are dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["join_tokens", "tokenize"]

_TOKEN = re.compile(
    rb"/\*.*?(?:\*/|\Z)|//[^\n]*"
    rb'|"(?:\\.|[^"\\\n]){0,1024}+"|\'(?:\\.|[^\'\\\n]){1,8}+\''
    rb"|[A-Za-z_]\w*|\d[\w.]*"
    rb"|->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\.\.\.|##|[^\s\w]",
    re.DOTALL,
)


def tokenize(text: bytes) -> list[bytes]:
    """Returns the tokens of C code, without comments. Never raises an error."""
    return [token for token in _TOKEN.findall(text) if token[:2] not in (b"/*", b"//")]


def join_tokens(tokens: Iterable[bytes]) -> bytes:
    """Returns tokens as one string, with a NUL before and after each."""
    return b"\0" + b"\0".join(tokens) + b"\0"
