"""The addresses of a kernel's functions, recovered from its own symbol table (kallsyms), which every distribution builds
in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from tailcall_audit.analyzer.kernelfiles.kallsyms_tables import MAX_NAME, find_tables

__all__ = ["Kallsyms", "functions_named"]

_TEXT_TYPES = b"tTwW"
_ALL_TYPES = b"tTwWdDrRbBaAvV"


def _symbols_named(
    data: bytes, tokens: list[bytes], places: Sequence[int], names: set[bytes], types: bytes
) -> Iterator[tuple[int, bytes, bytes]]:
    """Yields number, name and variant of every symbol with one of these names and types. A compiler's variant of a
    function, ``do_jit.isra.0``, goes by the name before the first dot.
    """
    begins = _Beginnings(tokens, names, types)
    for number, position in enumerate(places):
        length, begin = data[position], position + 1
        if length >= 128:
            length, begin = length & 127 | data[position + 1] << 7, position + 2
        if length < 2:
            continue
        text = begins[data[begin] << 8 | data[begin + 1]]
        if not text:
            continue
        for byte in data[begin + 2 : begin + length]:
            text += tokens[byte]
            if not begins.leads_to_one(text[1:]):
                break
        name, _, variant = text[1:].partition(b".")
        if name in names:
            yield number, name, variant


def functions_named(data: bytes, tokens: list[bytes], places: Sequence[int], names: set[bytes]) -> set[bytes]:
    """Returns which of these names a function has. The first three parameters are those of
    `tailcall_audit.analyzer.kernelfiles.kallsyms_tables.Names`.
    """
    return {name for _, name, _ in _symbols_named(data, tokens, places, names, _TEXT_TYPES)}


class Kallsyms:
    """The symbol table of a kernel; its parameters are those of `find_tables`. Raises KallsymsError if there is none."""

    def __init__(
        self, data: bytes, address_of: Callable[[int], int | None], pointer_at: Callable[[int], int] | None = None
    ) -> None:
        self._data = data
        self._tokens, self._places, self._addresses = find_tables(data, address_of, pointer_at)
        self._order: list[int] | None = None

    def _text(self, position: int) -> bytes:
        """Returns the type and the name at a position."""
        data = self._data
        length, begin = data[position], position + 1
        if length >= 128:
            length, begin = length & 127 | data[position + 1] << 7, position + 2
        text = bytearray()
        for byte in data[begin : begin + length]:
            text += self._tokens[byte]
            if len(text) > MAX_NAME:
                break
        return bytes(text)

    def _named(self, names: set[bytes], types: bytes) -> Iterator[tuple[int, bytes, bytes]]:
        return _symbols_named(self._data, self._tokens, self._places, names, types)

    def __len__(self) -> int:
        return len(self._places)

    def functions_of(self, names: set[bytes]) -> set[bytes]:
        """Returns which of these names a function has."""
        return functions_named(self._data, self._tokens, self._places, names)

    def functions(self, wanted: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Returns address and size in bytes (up to the next symbol) of each function with exactly this name.

        A part that a compiler split off, ``.part.0``, goes by ``NAME.part``; ``.cold`` is no function. If two functions
        have the same name, neither is returned, because it is not known which one is meant.
        """
        found: dict[str, tuple[int, int]] = {}
        several: set[str] = set()
        for number, name, variant in self._named({name.encode() for name in wanted}, _TEXT_TYPES):
            if variant.startswith(b"cold"):
                continue
            plain = f"{name.decode()}.part" if variant.startswith(b"part") else name.decode()
            address = self._addresses[number]
            if plain in found and found[plain][0] != address:
                several.add(plain)
            following = next((other for other in self._addresses[number : number + 64] if other > address), address)
            found[plain] = (address, following - address)
        return {name: where for name, where in found.items() if name not in several}

    def addresses(self, wanted: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Returns all addresses of each symbol, code or data, that is there under this name; parts that a compiler
        split off are left out.
        """
        found: dict[str, list[int]] = {}
        for number, name, variant in self._named({name.encode() for name in wanted}, _ALL_TYPES):
            if not variant.startswith((b"cold", b"part")):
                found.setdefault(name.decode(), []).append(self._addresses[number])
        return {name: tuple(dict.fromkeys(where)) for name, where in found.items()}

    def name_at(self, address: int) -> str | None:
        """Returns the name of the last symbol at or before an address; None before the first."""
        if self._order is None:
            self._order = sorted(range(len(self._addresses)), key=self._addresses.__getitem__)
        place = bisect_right(self._order, address, key=self._addresses.__getitem__)
        if place == 0:
            return None
        return self._text(self._places[self._order[place - 1]])[1:].decode("ascii", "replace")


class _Beginnings(dict[int, bytes]):
    """Returns the text of two tokens (the first in the high byte) if a wanted symbol could begin with it, otherwise
    nothing. Each answer is computed once. The first letter of a symbol is its type.
    """

    def __init__(self, tokens: list[bytes], names: set[bytes], types: bytes) -> None:
        self._tokens = tokens
        self._wanted = names
        self._prefixes = {name[:length] for name in names for length in range(len(name) + 1)}
        self._types = types

    def leads_to_one(self, name: bytes) -> bool:
        """Returns True if a wanted name begins like this, or if this is a wanted name with a variant that the compiler
        made: ``do_jit`` and ``.isra.0``.
        """
        if name in self._prefixes:
            return True
        plain, dot, _ = name.partition(b".")
        return bool(dot) and len(name) <= MAX_NAME and plain in self._wanted

    def __missing__(self, pair: int) -> bytes:
        text = self._tokens[pair >> 8] + self._tokens[pair & 255]
        found = text if text[:1] in self._types and self.leads_to_one(text[1:]) else b""
        self[pair] = found
        return found
