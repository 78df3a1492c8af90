"""Memory that only a limit refuses, for tests of limits."""

from __future__ import annotations

import errno
import mmap

_PIECE = 2 << 30


def take_untouched_memory() -> int:
    """Maps 16 GiB of private memory and touches none of it. Returns their size; raises MemoryError at a limit.

    A process that ran tests for hours has freed gigabytes, which no limit counts. An allocation would be served from
    them, and be cleared: a copy of all of it in a forked process, and the end of the machine's memory.
    """
    pieces = []
    try:
        for _ in range(8):
            pieces.append(mmap.mmap(-1, _PIECE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise MemoryError from error
    return sum(len(piece) for piece in pieces)
