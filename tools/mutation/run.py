"""Runs tests in forked processes: once without a change, and once for each change."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from tools.mutation.modules import Marks, MutationError, apply_mutant
from tools.mutation.operators import Mutant

__all__ = ["Fate", "Passed", "chosen_tests", "fates", "map_tests"]

_OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly")
_PATIENCE = 20.0
"""Seconds that the tests of a change may take in addition to three times their time without the change."""
_MOST_SECONDS = 12.0
"""The most seconds that the chosen tests may take together: the slowest are left out."""
_NOT_POSSIBLE = 77


class Fate(Enum):
    """The result of a change: a test failed or hung, all tests passed, no test runs the place, or it cannot be made."""

    KILLED = "killed"
    ALIVE = "alive"
    NOT_RUN = "no test runs it"
    IMPOSSIBLE = "cannot be made"


class Passed(NamedTuple):
    """A test that passes: its id, its time in seconds, and the marks of the statements that it runs."""

    name: str
    seconds: float
    seen: frozenset[int]


class _Watcher:
    """A pytest plugin that records the statements that each test runs, and stops when the time is up."""

    def __init__(self, marks: Marks, until: float) -> None:
        self.tests: list[Passed] = []
        self._marks = marks
        self._until = until
        self._passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self._passed.add(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._marks.clear()
        start = time.monotonic()
        done = yield
        if item.nodeid in self._passed:
            self.tests.append(Passed(item.nodeid, time.monotonic() - start, self._marks.seen()))
        if time.monotonic() > self._until:
            item.session.shouldstop = "the time for the tests as they are is over"
        return done


def _child(work: Callable[[], int]) -> NoReturn:
    """Runs `work` without output and ends this forked process with its return value."""
    code = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        code = work()
    except MutationError:
        code = _NOT_POSSIBLE
    finally:
        os._exit(code)


def _fork(work: Callable[[], int]) -> int:
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _child(work)
    return process


def map_tests(folders: Sequence[str], marks: Marks, seconds: float) -> list[Passed]:
    """Runs the tests of some folders without a change, for at most `seconds`. Returns the tests that passed."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "tests"

        def work() -> int:
            watcher = _Watcher(marks, time.monotonic() + seconds)
            pytest.main([*_OPTIONS, *folders], plugins=[watcher])
            output.write_bytes(pickle.dumps(watcher.tests))
            return 0

        os.waitpid(_fork(work), 0)
        return list(pickle.loads(output.read_bytes())) if output.exists() else []  # noqa: S301 - of the child above


def chosen_tests(mark: int | None, tests: Sequence[Passed]) -> list[Passed]:
    """Returns the tests for a change of a statement: those that run it, the fastest first, then other tests of their
    files.

    A fixture or a cache runs a statement only in the first test that needs it, but other tests of the file depend on it
    too. With None, for a place outside functions, all tests are candidates.
    """
    direct = [test for test in tests if mark is None or mark in test.seen]
    files = {test.name.partition("::")[0] for test in direct}
    others = [test for test in tests if test not in direct and test.name.partition("::")[0] in files]
    chosen: list[Passed] = []
    left = _MOST_SECONDS
    for test in (*sorted(direct, key=lambda test: test.seconds), *sorted(others, key=lambda test: test.seconds)):
        left -= test.seconds
        if chosen and left < 0:
            break
        chosen.append(test)
    return chosen


def _start(path: Path, mutant: Mutant, tests: Sequence[Passed]) -> int:
    def work() -> int:
        try:
            apply_mutant(path, mutant)
        except MutationError:
            raise
        except Exception:
            return int(pytest.ExitCode.TESTS_FAILED)
        return int(pytest.main([*_OPTIONS, "-x", "--hypothesis-seed=0", *(test.name for test in tests)]))

    return _fork(work)


class _Running(NamedTuple):
    path: Path
    mutant: Mutant
    until: float


def _fate(status: int) -> Fate:
    code = os.waitstatus_to_exitcode(status)
    return {0: Fate.ALIVE, _NOT_POSSIBLE: Fate.IMPOSSIBLE}.get(code, Fate.KILLED)


def fates(
    changes: Sequence[tuple[Path, Mutant]], tests: Sequence[Passed], marks: Marks, jobs: int, until: float
) -> Iterator[tuple[Path, Mutant, Fate]]:
    """Yields the result of each change as soon as it is known. Starts no change after `until`, a time of
    time.monotonic().
    """
    running: dict[int, _Running] = {}
    waiting = iter(changes)
    more = True
    try:
        while more or running:
            while more and len(running) < jobs and time.monotonic() < until:
                change = next(waiting, None)
                if change is None:
                    more = False
                    break
                path, mutant = change
                chosen = chosen_tests(marks.number(path, mutant.statement) if mutant.function else None, tests)
                if not chosen:
                    yield path, mutant, Fate.NOT_RUN
                    continue
                limit = time.monotonic() + 3 * sum(test.seconds for test in chosen) + _PATIENCE
                running[_start(path, mutant, chosen)] = _Running(path, mutant, limit)
            more = more and time.monotonic() < until
            for process, (path, mutant, limit) in list(running.items()):
                ended, status = os.waitpid(process, os.WNOHANG)
                if not ended and time.monotonic() > limit:
                    _kill(process)
                    ended, status = process, 1 << 8
                if ended:
                    del running[process]
                    yield path, mutant, _fate(status)
            time.sleep(0.01)
    finally:
        for process in running:
            _kill(process)


def _kill(process: int) -> None:
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
