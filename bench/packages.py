"""Measures how long a package's changelog takes to read and to parse: ``python -m bench.packages``.

The floor is ``dpkg-deb --fsys-tarfile | tar -xO | zcat`` on the same package. Goal: at most 2 times that for reading,
and 20 MB/s for parsing.
"""

from __future__ import annotations

import time

from bench.measure import run
from tailcall_audit.analyzer.kernelfiles.changelog.debian import parse_debian
from tailcall_audit.analyzer.kernelfiles.deb import read_deb
from tests.kernels import package_file

PACKAGE = "linux-image-6.1.0-47-cloud-amd64"


def _best(work: object, times: int = 5) -> float:
    assert callable(work)
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    """Prints times and ratios."""
    path = package_file(PACKAGE, "6.1.170-3")
    pipeline = f"dpkg-deb --fsys-tarfile {path} | tar -xO --wildcards './usr/share/doc/*/changelog*.gz' | zcat"
    floor = run(["bash", "-c", pipeline], 5)
    read = _best(lambda: read_deb(path))
    print(f"dpkg-deb | tar | zcat   {floor.seconds:6.2f} s")
    print(f"reading the package     {read:6.2f} s   {read / floor.seconds:5.2f} x the pipeline (to reach: 2)")
    changelog = read_deb(path).changelog
    assert changelog is not None
    text = changelog[1].decode("utf-8", "replace")
    parse = _best(lambda: parse_debian(text, "changelog"))
    print(
        f"parsing {text.count(chr(10)):,} lines    {parse:6.2f} s   {len(changelog[1]) / parse / 1e6:5.1f} MB/s (to reach: 20)"
    )


if __name__ == "__main__":
    main()
