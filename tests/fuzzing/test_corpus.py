"""The nasty files: each is read or refused in a process that may take 1 GiB of memory."""

from __future__ import annotations

import os
import resource
import traceback
from pathlib import Path

import pytest

from tests.fuzzing.corpus import CORPUS, Nasty
from tests.fuzzing.readers import READERS, FuzzedReader, catalog
from tests.fuzzing.run import run_case
from tests.strategies.case import Case
from tests.untouched import take_untouched_memory

_MEMORY = 1 << 30
_PROCESSOR = 300
"""Seconds: no assertion, but what keeps a reader that never ends from keeping the tests."""
_BY_NAME = {reader.name: reader for reader in READERS}


def _child(reader: FuzzedReader, case: Case, writer: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_PROCESSOR, _PROCESSOR))
    # The limit counts what the process of the tests had, too, which is more than 1 GiB at times.
    most = _MEMORY + int(Path("/proc/self/statm").read_text().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        refusal = run_case(reader, case).refusal
        words = "read" if refusal is None else f"refused {refusal}"
    except BaseException:
        words = traceback.format_exc()
    os.write(writer, words.encode("utf-8", "replace")[-4000:])


def _outcome(reader: FuzzedReader, case: Case) -> str:
    """What became of it, in a process of its own: "read", "refused …", a traceback, or the signal that ended it."""
    catalog()
    end, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _child(reader, case, writer)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(end, "rb") as file:
        words = file.read().decode()
    _, status = os.waitpid(child, 0)
    return words if status == 0 else f"ended by signal {os.WTERMSIG(status)}"


@pytest.mark.parametrize(
    "nasty", [entry for entry in CORPUS if entry.small], ids=lambda entry: f"{entry.reader}: {entry.name}"
)
def test_a_nasty_file_is_read_or_refused(nasty: Nasty) -> None:
    outcome = _outcome(_BY_NAME[nasty.reader], nasty.make())
    assert outcome.startswith(("read", "refused")), outcome
    if nasty.refused is not None:
        assert outcome.startswith("refused") == nasty.refused, outcome


def test_every_reader_of_the_corpus_is_known() -> None:
    assert {nasty.reader for nasty in CORPUS} <= set(_BY_NAME)


def _takes_memory(path: Path) -> None:
    take_untouched_memory()


def _lets_an_error_through(path: Path) -> None:
    dict[str, str]()[path.name]


def test_a_reader_that_breaks_is_seen() -> None:
    reader, case = _BY_NAME["console"], {"console": b""}
    assert "MemoryError" in _outcome(reader._replace(read=_takes_memory), case)
    assert "KeyError" in _outcome(reader._replace(read=_lets_an_error_through), case)
