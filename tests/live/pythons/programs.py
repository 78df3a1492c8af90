"""ELF files of a few bytes: they name an interpreter and libraries, and hold no code."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tailcall_audit.probes.guest.machines import Machine

__all__ = ["library", "program"]

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_STRSZ = 0, 1, 5, 10
_HEADER, _SEGMENT = 64, 56


def program(machine: Machine, interpreter: str, needed: Sequence[str]) -> bytes:
    """A program with a dynamic linker and libraries (gabi: "Dynamic Linking")."""
    number, order = machine.elf
    mark = "<" if order == "little" else ">"
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in needed)
    kinds = [_PT_LOAD, _PT_DYNAMIC, *([_PT_INTERP] if interpreter else [])]
    start = _HEADER + _SEGMENT * len(kinds)
    names = [strings.index(b"\0" + name.encode() + b"\0") + 1 for name in needed]
    count = len(needed) + 3
    table, path = start + 16 * count, interpreter.encode() + b"\0" if interpreter else b""
    rows = [(_DT_NEEDED, name) for name in names] + [(_DT_STRTAB, table), (_DT_STRSZ, len(strings)), (_DT_NULL, 0)]
    dynamic = b"".join(struct.pack(f"{mark}QQ", *row) for row in rows)
    whole = table + len(strings) + len(path)
    where = {
        _PT_LOAD: (0, whole),
        _PT_DYNAMIC: (start, len(dynamic)),
        _PT_INTERP: (table + len(strings), len(path)),
    }
    ident = b"\x7fELF" + bytes((2, 1 if order == "little" else 2, 1)) + bytes(9)
    header = ident + struct.pack(f"{mark}HHIQQQIHHHHHH", 3, number, 1, 0, _HEADER, 0, 0, 64, 56, len(kinds), 0, 0, 0)
    segments = b"".join(
        struct.pack(
            f"{mark}IIQQQQQQ",
            kind,
            4,
            where[kind][0],
            where[kind][0],
            where[kind][0],
            where[kind][1],
            where[kind][1],
            8,
        )
        for kind in kinds
    )
    return header + segments + dynamic + strings + path


def library(machine: Machine, needed: Sequence[str]) -> bytes:
    """A library."""
    return program(machine, "", needed)
