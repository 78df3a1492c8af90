"""Lists of patches: quilt's series files and SUSE's series.conf."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["ListedPatch", "read_series"]


class ListedPatch(NamedTuple):
    """A patch in a list: the number of its line, and its path as the list has it.

    `applied` is True if every build applies it, False if none does, and None if that depends on something. `reverse`
    marks a patch that is taken back (quilt's ``-R``).
    """

    line: int
    path: str
    applied: bool | None = True
    reverse: bool = False


def read_series(data: bytes) -> Iterator[ListedPatch]:
    """Yields the patches of a series file.

    quilt writes options behind the name (``-p1``, ``-R``), SUSE writes guards before it: ``+rt`` and ``-rt`` ask for a
    symbol, and a single ``-`` leaves the patch out (guards.1 of SUSE's kernel-source).
    """
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        words = line.split("#", 1)[0].split()
        place = next((index for index, word in enumerate(words) if not word.startswith(("+", "-"))), None)
        if place is None:
            continue
        guards, options = words[:place], words[place + 1 :]
        applied = False if "-" in guards else None if guards else True
        yield ListedPatch(number, words[place], applied, "-R" in options)
