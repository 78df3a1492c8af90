"""Compares an audit of a version string with an interpreter that does nothing: ``python -m bench.start``.

Goal: at most 7 times as long. The runs alternate, because the times are milliseconds and other load disturbs them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.measure import installed_environment

ROUNDS = 40


def _once(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, env=installed_environment(), check=False)
    return time.perf_counter() - start


def main() -> None:
    """Prints the best and median times of both, and their ratios."""
    nothing = [sys.executable, "-c", "pass"]
    audit = [str(Path(sys.executable).with_name("tailcall-audit")), "--kernel", "6.8.0-35-generic"]
    _once(audit)  # the first run writes the byte code
    pairs = [(_once(nothing), _once(audit)) for _ in range(ROUNDS)]
    for name, pick in (("best", min), ("median", statistics.median)):
        floor, taken = (pick(column) for column in zip(*pairs, strict=True))
        print(
            f"{name:7} python -c pass {floor * 1000:6.1f} ms   audit {taken * 1000:6.1f} ms   ratio {taken / floor:.2f}"
        )
    print(
        f"median of the ratios of {ROUNDS} pairs: {statistics.median(taken / floor for floor, taken in pairs):.2f} (to reach: 7)"
    )


if __name__ == "__main__":
    main()
