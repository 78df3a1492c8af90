"""Changes one place of the policy and of the readers at a time, and shows which changes no test sees.

    python -m tools.mutation [PATH …] [--minutes 10] [--seed 0] [--jobs N] [--tests FOLDER …]

PATH is a module or a folder of the checkout; the default is analyzer/policy and analyzer/readers. First the tests run
once without a change, for at most half of the time. The rest of the time goes to a random sample of the changes, with
the same number for each module. A change that no test detects is shown as a diff. Some of these changes do not alter
the behaviour; the others need a test.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import zip_longest
from pathlib import Path

import pytest

from tools.mutation.modules import Marks, module_name
from tools.mutation.operators import Mutant, mutants
from tools.mutation.run import Fate, fates, map_tests

_UNDER_TEST = ("analyzer/policy", "analyzer/readers")
_TESTS = ("tests/policy", "tests/readers")


def _files(names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        path = Path(name)
        found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        yield from (file for file in found if file.name != "__init__.py")


def _sampled(paths: Sequence[Path], seed: int) -> list[tuple[Path, Mutant]]:
    """Returns the changes of all modules in random order, one of each module in turn."""
    chance = random.Random(seed)  # noqa: S311 - a sample
    columns = []
    for path in paths:
        column = [(path, mutant) for mutant in mutants(path.read_text(encoding="utf-8"))]
        chance.shuffle(column)
        columns.append(column)
    return [change for row in zip_longest(*columns) for change in row if change is not None]


def _diff(path: Path, mutant: Mutant) -> str:
    before = "\n".join(f"    - {line}" for line in mutant.before.splitlines())
    after = "\n".join(f"    + {line}" for line in mutant.after.splitlines())
    return f"{path}:{mutant.line} {mutant.function}\n{before}\n{after}"


def _table(paths: Sequence[Path], total: Counter[Path], found: Counter[tuple[Path, Fate]]) -> Iterator[str]:
    yield f"{'module':48} {'changes':>7} {'tried':>7} {'killed':>7} {'alive':>7} {'no test':>7}"
    sums = [0] * 5
    for path in (*paths, None):
        if path is not None:
            states = [found[path, fate] for fate in (Fate.KILLED, Fate.ALIVE, Fate.NOT_RUN)]
            row = [total[path], sum(states), *states]
            if not row[0]:
                continue
            sums = [a + b for a, b in zip(sums, row, strict=True)]
        else:
            row = sums
        yield f"{path or 'all'!s:48} " + " ".join(f"{number:7}" for number in row)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help=f"modules or folders; without: {', '.join(_UNDER_TEST)}"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long it may take (10)")
    parser.add_argument("--seed", type=int, default=0, help="which sample of the changes (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once (one a processor)")
    parser.add_argument("--tests", nargs="+", default=_TESTS, help=f"tests to run ({' '.join(_TESTS)})")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Does a mutation run. Returns 0, or 2 if there is nothing to change or no test passes."""
    given = _arguments(words)
    start = time.monotonic()
    paths = list(_files(given.paths or _UNDER_TEST))
    changes = _sampled(paths, given.seed)
    marks = Marks(paths)
    sys.meta_path.insert(0, marks)
    # The modules are imported once, here, and each forked process inherits them.
    with open(os.devnull, "w", encoding="utf-8") as null:
        out, sys.stdout = sys.stdout, null
        pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *given.tests])
        sys.stdout = out
    for path in paths:
        import_module(module_name(path))
    tests = map_tests(given.tests, marks, given.minutes * 30)
    print(f"{len(tests)} tests pass as they are; {len(changes)} changes", file=sys.stderr, flush=True)
    if not tests or not changes:
        print("tools.mutation: nothing to change, or no test that passes", file=sys.stderr)
        return 2
    found: Counter[tuple[Path, Fate]] = Counter()
    alive = []
    for path, mutant, fate in fates(changes, tests, marks, given.jobs, start + given.minutes * 60):
        found[path, fate] += 1
        if fate in (Fate.ALIVE, Fate.NOT_RUN):
            alive.append((path, mutant, fate))
        if sum(found.values()) % 50 == 0:
            print(f"{sum(found.values())} tried, {len(alive)} alive", file=sys.stderr, flush=True)
    for path, mutant, fate in sorted(alive, key=lambda item: (item[0], item[1].line)):
        print(_diff(path, mutant) + ("\n    (no test runs it)" if fate is Fate.NOT_RUN else ""))
    print("\n".join(_table(paths, Counter(path for path, _ in changes), found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
