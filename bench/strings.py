"""Measures many release strings: ``python -m bench.strings [STRINGS]`` (1,000 different ones).

The strings are those of several distributions and of kernel.org. Goal: as JSON under 1 s and 100 MB. The goal is held
against the processor time of the best of five runs, which other load on the machine changes less than the time by the
clock.
"""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path

from bench.measure import run

_FORMS = (
    "6.1.0-{}-amd64", "5.15.0-{}-generic", "5.14.0-{}.el9_4.x86_64", "6.6.{}", "6.12.{}", "6.8.0-{}-generic", "6.1.{}",
)  # fmt: skip


def strings(count: int) -> list[str]:
    """Returns different release strings, as many of each form."""
    each = -(-count // len(_FORMS))
    return list(chain.from_iterable((form.format(number) for form in _FORMS) for number in range(1, each + 1)))[:count]


def main() -> int:
    """Measures each format; returns 1 if a goal is missed."""
    names = strings(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    tool = [
        str(Path(sys.executable).with_name("tailcall-audit")),
        *chain.from_iterable(("--kernel", name) for name in names),
    ]
    missed = 0
    for form in ("json", "jsonl", "table"):
        taken = run([*tool, "--format", form], times=5)
        met = taken.processor < 1 and taken.megabytes < 100
        missed += not met and form == "json"
        print(
            f"{form:<8}{taken.seconds:>7.2f} s{taken.processor:>7.2f} s of processor{taken.megabytes:>6.0f} MB  {'met' if met else 'missed'}"
        )
    print(f"{len(names):,} strings: to reach 1 s and 100 MB as JSON")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
