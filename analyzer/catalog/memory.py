"""Answers that were worked out with one catalogue, kept for the next kernel: a fleet asks the same questions of the
same facts.
"""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Memory"]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


_MOST_CATALOGS = 64


class Memory(Generic[_Key, _Value]):
    """Answers by question and catalogue, at most `limit` of them for each catalogue."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_catalog: dict[int, tuple[object, dict[_Key, _Value]]] = {}

    def of(self, catalog: object) -> dict[_Key, _Value]:
        """Returns the answers for a catalogue; forgets them if there are too many of them, or too many catalogues."""
        found = self._by_catalog.get(id(catalog))
        if found is None or len(found[1]) > self._limit:
            if len(self._by_catalog) >= _MOST_CATALOGS:
                self._by_catalog.clear()
            found = self._by_catalog[id(catalog)] = (catalog, {})
        return found[1]
