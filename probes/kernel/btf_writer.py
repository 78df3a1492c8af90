"""Writes small amounts of BTF: the types that a program needs when it is loaded."""

from __future__ import annotations

import struct

from tailcall_audit.probes.kernel.btf_format import (
    CONST,
    ENUM,
    FUNC,
    FUNC_PROTO,
    GLOBAL,
    HEADER,
    HEADER_SIZE,
    INT,
    INT_SIGNED,
    MAGIC,
    NATIVE,
    PTR,
    STATIC,
    STRUCT,
    BtfError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Function", "Writer", "describe_functions", "function_number"]


class Writer:
    """Writes BTF in a byte order ("<" or ">", None: this machine's). Each method adds a type and returns its number."""

    def __init__(self, order: str | None = None) -> None:
        self._order = order or NATIVE
        self._types = bytearray()
        self._strings = bytearray(b"\0")
        self._offsets: dict[str, int] = {"": 0}
        self._count = 0

    def _pack(self, form: str, *numbers: int) -> bytes:
        return struct.pack(self._order + form, *numbers)

    def _string(self, text: str) -> int:
        if text not in self._offsets:
            if "\0" in text:
                raise BtfError("a name can't hold a NUL")
            self._offsets[text] = len(self._strings)
            self._strings += text.encode() + b"\0"
        return self._offsets[text]

    def _add(self, name: str, kind: int, value: int, members: int = 0, more: bytes = b"") -> int:
        if not 0 <= members < 1 << 16 or not 0 <= value < 1 << 32:
            raise BtfError(f"{name or kind}: more members, or a larger size or number, than BTF can hold")
        self._types += self._pack("III", self._string(name), kind << 24 | members, value) + more
        self._count += 1
        return self._count

    def integer(self, name: str, size: int, signed: bool = True) -> int:
        """Adds an integer of `size` bytes."""
        if size not in (1, 2, 4, 8, 16):
            raise BtfError(f"no integer has {size} bytes")
        return self._add(name, INT, size, more=self._pack("I", (INT_SIGNED if signed else 0) | size * 8))

    def pointer(self, to: int) -> int:
        """Adds a pointer to a type."""
        return self._add("", PTR, to)

    def const(self, of: int) -> int:
        """Adds a const qualifier for a type."""
        return self._add("", CONST, of)

    def struct(self, name: str, size: int, members: Sequence[tuple[str, int, int]] = ()) -> int:
        """Adds a struct of `size` bytes. Each member is a name, a type and an offset in bits."""
        more = b"".join(self._pack("III", self._string(member), kind, offset) for member, kind, offset in members)
        return self._add(name, STRUCT, size, len(members), more)

    def enum(self, name: str, values: dict[str, int]) -> int:
        """Adds an enum."""
        more = b"".join(self._pack("Ii", self._string(key), value) for key, value in values.items())
        return self._add(name, ENUM, 4, len(values), more)

    def prototype(self, returns: int, parameters: Sequence[tuple[str, int]]) -> int:
        """Adds a function prototype."""
        more = b"".join(self._pack("II", self._string(name), kind) for name, kind in parameters)
        return self._add("", FUNC_PROTO, returns, len(parameters), more)

    def function(self, name: str, prototype: int, linkage: int) -> int:
        """Adds a function. `linkage` is STATIC or GLOBAL."""
        return self._add(name, FUNC, prototype, linkage)

    def encode(self) -> bytes:
        """Returns the finished BTF."""
        header = self._pack(HEADER, MAGIC, 1, 0, HEADER_SIZE, 0, len(self._types), len(self._types), len(self._strings))
        return header + bytes(self._types) + bytes(self._strings)


class Function:
    """How BTF describes one function of a program: its name, and whether it is global (verified separately, and
    replaceable).
    """

    def __init__(self, name: str, is_global: bool) -> None:
        self.name = name
        self.is_global = is_global


_described: dict[tuple[str, tuple[tuple[str, bool], ...]], bytes] = {}
"""BTF that was written before, by its context and its functions: many programs have the same."""


def describe_functions(functions: Sequence[Function], context: str) -> bytes:
    """Returns BTF for functions that take a pointer to the context, a struct of that name, and return an int."""
    key = (context, tuple((function.name, function.is_global) for function in functions))
    if key not in _described:
        writer = Writer()
        number = writer.integer("int", 4)
        pointer = writer.pointer(writer.struct(context, 4, [("x", number, 0)]))
        prototype = writer.prototype(number, [("ctx", pointer)])
        for function in functions:
            writer.function(function.name, prototype, GLOBAL if function.is_global else STATIC)
        _described[key] = writer.encode()
    return _described[key]


_FIRST_FUNCTION = 5
"""Type numbers in the BTF of `describe_functions`: 1 int, 2 the context, 3 the pointer to it, 4 the prototype, 5 the first
function.
"""


def function_number(index: int) -> int:
    """Returns the BTF number of a program's function. `index` counts the functions from 0."""
    return _FIRST_FUNCTION + index
