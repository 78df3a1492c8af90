"""Fuzzes the readers with hostile input, for minutes or hours: ``python -m bench.fuzz --minutes N [--reader NAME]``.

Each reader of tests/fuzzing gets new cases in batches, each batch in a process of its own, until the time is up. For
each reader the run prints the number of cases and refusals, the processor time of the slowest case in seconds, the
largest memory, and the failures: an error that is not the reader's own, a wrong answer, a crash, or a case that does
not end. The files of each failure are kept in a folder, and ``python -m bench.fuzz --replay FOLDER`` reads them again.
The exit code is 1 if there is a failure.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzzing.readers import READERS, FuzzedReader, catalog
from tests.fuzzing.run import run_case
from tests.strategies.case import Case, write

_EXAMPLES = 1000
"""Cases of one hypothesis run, which does not repeat them."""
_BATCH = 30.0
"""Seconds that one process runs."""
_SILENT = 120.0
"""Elapsed seconds that one case may take; more is a failure. The limit is high because a busy machine is slow."""
_SLOW = 5.0
"""Seconds of processor time that a case may take; more is a failure."""
_LARGE = 512
"""The largest size of a process, in MB."""
_CASE, _READER = "case.pickle", "reader"


class Tally(NamedTuple):
    """The counts of a batch: cases, refusals, seconds of the slowest case, and the largest memory (MB) of the process
    and its children.
    """

    cases: int = 0
    refusals: int = 0
    slowest: float = 0.0
    largest: float = 0.0

    def plus(self, other: Tally) -> Tally:
        """Returns the sum of both."""
        return Tally(
            self.cases + other.cases,
            self.refusals + other.refusals,
            max(self.slowest, other.slowest),
            max(self.largest, other.largest),
        )


def _reader(name: str) -> FuzzedReader:
    found = next((reader for reader in READERS if reader.name == name), None)
    if found is None:
        raise SystemExit(f"no reader {name!r}; there are {', '.join(reader.name for reader in READERS)}")
    return found


def _keep(folder: Path, reader: FuzzedReader, case: Case, kind: str, words: str) -> None:
    """Keeps the files of a failure, once for each kind: name of the error and line of the tool that raised it."""
    last = [
        line.strip() for line in words.splitlines() if line.strip().startswith('File "') and "tailcall_audit/" in line
    ]
    place = folder / f"{reader.name}-{zlib.crc32((kind + ''.join(last[-1:])).encode()):08x}"
    if place.exists():
        return
    place.mkdir(parents=True)
    (place / _READER).write_text(reader.name)
    (place / "error").write_text(words)
    (place / _CASE).write_bytes(pickle.dumps(dict(case)))
    write({f"files/{path}": content for path, content in case.items()}, place)


def _memory() -> float:
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def _batch(reader: FuzzedReader, start: int, until: float, pending: Path, failures: Path) -> Tally:
    """Runs cases until the time is up, at least one. `pending` is a folder that holds the current case."""
    tally = Tally()

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(reader.strategy)
    def run(case: Case) -> None:
        nonlocal tally
        if tally.cases and time.time() > until:
            raise KeyboardInterrupt
        (pending / _CASE).write_bytes(pickle.dumps(dict(case)))
        try:
            outcome = run_case(reader, case)
        except Exception as error:
            _keep(failures, reader, case, type(error).__name__, traceback.format_exc())
            tally = tally.plus(Tally(1, 0, 0.0, _memory()))
            return
        tally = tally.plus(Tally(1, int(outcome.refusal is not None), outcome.seconds, _memory()))
        if outcome.seconds > _SLOW or _memory() > _LARGE:
            words = f"it took {outcome.seconds:.1f} s, and the process has {_memory():.0f} MB"
            _keep(failures, reader, case, "slow" if outcome.seconds > _SLOW else "large", words)
            if _memory() > _LARGE:
                raise KeyboardInterrupt  # the memory of a process never shrinks: a new process continues

    try:
        while not tally.cases or time.time() < until:
            seed(start)(run)()
            start += 1
    except KeyboardInterrupt:
        pass
    return tally


def _apart(reader: FuzzedReader, start: int, seconds: float, failures: Path) -> Tally:
    """Runs a batch in a separate process. If the process crashes or does not end, its current case is kept as a
    failure.
    """
    with tempfile.TemporaryDirectory() as folder:
        pending = Path(folder)
        end, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                tally = _batch(reader, start, time.time() + seconds, pending, failures)
                os.write(writer, json.dumps(tally).encode())
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(writer)
        answered = bool(select.select([end], [], [], seconds + _SILENT)[0])
        if not answered:
            os.killpg(child, signal.SIGKILL)
        answer = os.read(end, 1 << 16)
        os.close(end)
        _, status = os.waitpid(child, 0)
        if answer:
            return Tally(*json.loads(answer))
        why = f"the process ended with {status}" if answered else "it did not end"
        case = pickle.loads((pending / _CASE).read_bytes()) if (pending / _CASE).exists() else {}
        _keep(failures, reader, case, why, why)
        return Tally(1)


def _rounds(readers: list[FuzzedReader], until: float) -> Iterator[tuple[FuzzedReader, float]]:
    """Yields the readers in turn with the seconds that each may take, until the time is up."""
    while (left := until - time.time()) > 1:
        share = min(_BATCH, max(5.0, left / len(readers)))
        for reader in readers:
            if time.time() >= until:
                return
            yield reader, min(share, max(2.0, until - time.time()))


def _report(tallies: dict[str, Tally], failures: Path) -> int:
    print(f"{'reader':<18}{'cases':>9}{'refused':>9}{'slowest s':>11}{'largest MB':>12}  failures")
    for name, tally in tallies.items():
        kept = [
            path.name for path in sorted(failures.glob(f"{name}-[0-9a-f]*")) if (path / _READER).read_text() == name
        ]
        print(
            f"{name:<18}{tally.cases:>9,}{tally.refusals:>9,}{tally.slowest:>11.2f}{tally.largest:>12.0f}  {' '.join(kept) or '-'}"
        )
    print(f"{'all':<18}{sum(tally.cases for tally in tallies.values()):>9,}")
    found = sorted(failures.glob("*/error"))
    for path in found:
        print(f"\n{path.parent}: {path.read_text().strip().splitlines()[-1][:200]}")
        print(f"    python -m bench.fuzz --replay {path.parent}")
    return 1 if found else 0


def _replay(folder: Path) -> int:
    reader = _reader((folder / _READER).read_text())
    case: Case = pickle.loads((folder / _CASE).read_bytes())
    outcome = run_case(reader, case)
    refusal = outcome.refusal
    print(
        f"{reader.name}: {'read' if refusal is None else f'{type(refusal).__name__}: {refusal}'}, {outcome.seconds:.2f} s"
    )
    return 0


def main() -> int:
    """Runs the fuzzers, or replays one failure."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.fuzz", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--reader", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, help="the first seed (a random one)")
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()) / "tailcall-audit-fuzz", help="where failures are kept"
    )
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="read a failure's files again")
    options = parser.parse_args()
    if options.replay:
        return _replay(options.replay)
    start = random.randrange(1 << 32) if options.seed is None else options.seed
    until = time.time() + 60 * options.minutes
    shutil.rmtree(options.keep, ignore_errors=True)
    options.keep.mkdir(parents=True)
    chosen = [_reader(name) for name in options.reader] or list(READERS)
    catalog()  # loaded once, for all forked processes
    tallies = {reader.name: Tally() for reader in chosen}
    print(f"{len(chosen)} readers, {options.minutes:g} minutes, seed {start}, failures in {options.keep}", flush=True)
    for number, (reader, seconds) in enumerate(_rounds(chosen, until)):
        found = _apart(reader, start + 100_000 * number, seconds, options.keep)
        tallies[reader.name] = tallies[reader.name].plus(found)
    return _report(tallies, options.keep)


if __name__ == "__main__":
    sys.exit(main())
