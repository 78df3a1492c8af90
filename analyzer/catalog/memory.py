"""Answers that were worked out with one catalogue, kept for the next kernel: a fleet asks the same questions of the
same facts.
"""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Memory"]

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Memory(Generic[_Key, _Value]):
    """Answers by question, for one catalogue at a time, and at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._catalog: object = None
        self._known: dict[_Key, _Value] = {}

    def of(self, catalog: object) -> dict[_Key, _Value]:
        """Returns the answers for a catalogue; empties them if it is another one than before, or if there are too many."""
        if self._catalog is not catalog or len(self._known) > self._limit:
            self._catalog, self._known = catalog, {}
        return self._known
