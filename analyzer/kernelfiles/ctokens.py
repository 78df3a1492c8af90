"""Splits C code into tokens. White space, comments and line breaks are dropped."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["join_tokens", "tokenize"]

_TOKEN = re.compile(
    rb"[A-Za-z_]\w*+|[(),;{}\[\]]|\d[\w.]*+|/\*.*?(?:\*/|\Z)|//[^\n]*"
    rb'|"(?:\\.|[^"\\\n]){0,1024}+"|\'(?:\\.|[^\'\\\n]){1,8}+\''
    rb"|->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\.\.\.|##|[^\s\w]",
    re.DOTALL,
)
"""The forms of a token, the most frequent one first."""


def tokenize(text: bytes) -> list[bytes]:
    """Returns the tokens of C code, without comments. Never raises an error."""
    tokens = _TOKEN.findall(text)
    if b"/*" not in text and b"//" not in text:
        return tokens
    return [token for token in tokens if token[:2] not in (b"/*", b"//")]


def join_tokens(tokens: Iterable[bytes]) -> bytes:
    """Returns tokens as one string, with a NUL before and after each."""
    return b"\0" + b"\0".join(tokens) + b"\0"
