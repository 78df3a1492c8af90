"""A nasty input, and what several of them are made of."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable
from typing import NamedTuple

from tests.strategies.archives import CONTROL, tar
from tests.strategies.case import Case
from tests.zstd import compress as zstd_compress

__all__ = [
    "DOC",
    "ENTRIES",
    "FIXED",
    "GOOD_CONTROL",
    "UNFIXED",
    "Maker",
    "Nasty",
    "blanks",
    "claimed",
    "header",
    "nasty",
]


class Nasty(NamedTuple):
    """A nasty input: the reader that it is for, what it is, and whether that reader has to refuse it (None: either will
    do).

    `small` ones are below 1 MB.
    """

    reader: str
    name: str
    make: Callable[[], Case]
    refused: bool | None = True
    small: bool = True


ENTRIES: list[Nasty] = []
Maker = Callable[[], Case]


def nasty(reader: str, name: str, refused: bool | None = True, small: bool = True) -> Callable[[Maker], Maker]:
    def add(make: Maker) -> Maker:
        ENTRIES.append(Nasty(reader, name, make, refused, small))
        return make

    return add


DOC = "./usr/share/doc/linux-image-6.1.0-47-amd64/changelog.Debian.gz"
FIXED = gzip.compress(
    b"linux (6.1.170-3) bookworm; urgency=medium\n\n  * bpf: Prevent tailcall infinite loop caused by freplace\n\n"
    b" -- A B <a@example.org>  Thu, 12 Mar 2026 10:00:00 +0100\n"
)
UNFIXED = gzip.compress(
    b"linux (6.1.170-3) bookworm; urgency=medium\n\n  * x\n\n -- A B <a@example.org>  Thu, 12 Mar 2026 10:00:00 +0100\n"
)
GOOD_CONTROL = tar((("./control", CONTROL),))


@functools.cache
def blanks(gigabytes: int) -> bytes:
    """Gigabytes of blanks in some kilobytes: frames of zstd that follow each other."""
    return zstd_compress(b" " * (64 << 20), 3) * (16 * gigabytes)


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    return tar(((name, b""),), kind, size)[:512]


def claimed(kind: bytes, size: int) -> bytes:
    """A tar archive that begins with a header of this type and size, with as many blanks behind it, compressed."""
    return zstd_compress(header("x", size, kind)) + blanks(-(-size >> 30) or 1)
