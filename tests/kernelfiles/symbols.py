"""Tables of symbols as scripts/kallsyms.c writes them, with names of our own, in either byte order."""

from __future__ import annotations

import struct
from collections.abc import Iterable

__all__ = ["FILLER", "table"]

FILLER = tuple(f"filler_{number:05}" for number in range(2400))
"""A table of fewer than nine markers, one for 256 names, is not taken for one."""


def _tokens(order: str) -> bytes:
    """The table in which each byte is itself, and its index."""
    tokens = [bytes([number or 1]) for number in range(256)]
    places = [sum(len(token) + 1 for token in tokens[:number]) for number in range(256)]
    return b"".join(token + b"\0" for token in tokens) + struct.pack(f"{order}256H", *places)


def table(functions: Iterable[str], order: str = "<") -> bytes:
    """The count, the names and their markers, and the tokens; `order` is that of struct. The addresses are left out."""
    names, markers = bytearray(), []
    every = sorted((*FILLER, *functions))
    for number, name in enumerate(every):
        if number % 256 == 0:
            markers.append(len(names))
        names += bytes([len(name) + 1]) + b"T" + name.encode()
    names += bytes(-len(names) % 4)
    head = struct.pack(f"{order}II", len(every), 0)
    return bytes(64) + head + bytes(names) + struct.pack(f"{order}{len(markers)}I", *markers) + _tokens(order)
