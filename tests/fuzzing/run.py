"""One case: written, read, and what came of it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.text import printable
from tests.fuzzing.readers import FuzzedReader
from tests.strategies.case import Case, write

__all__ = ["Outcome", "run_case"]

_MEMORY = Path("/dev/shm")


class Outcome(NamedTuple):
    """What a reader did: what it refused the case with (None: it read it), and the seconds of processor time that it
    took.
    """

    refusal: Exception | None
    seconds: float


@contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory where there is one, gone at the end."""
    place = Path(tempfile.mkdtemp(prefix="tailcall-audit-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def run_case(reader: FuzzedReader, case: Case) -> Outcome:
    """Gives a case to a reader. Raises what the reader raises beside its refusals, and AssertionError where its answer
    is wrong.
    """
    with folder() as place:
        path = write(case, place)
        start = time.process_time()
        refusal: Exception | None = None
        try:
            reader.read(path)
        except reader.refusals as error:
            refusal = error
            assert str(error), "a refusal without words"
            assert printable(str(error)).isprintable()
        return Outcome(refusal, time.process_time() - start)
