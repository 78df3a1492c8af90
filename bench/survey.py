"""Compares a survey of a stable tree with git itself: ``python -m bench.survey``.

The repository is the kernel-sized one of bench/tree.py with five more stable branches of 10,000 commits and 100 tags
each. The floor is one ``git log`` over the same ranges with its output discarded. Goal: at most 2 times the floor.

A build that a shipped survey decides is compared with a plain version. Goal: it costs no more.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.measure import run
from bench.repository import FIX, kernel_shaped_repository
from tests.kernels import cache_directory

PLAIN = "6.1.170"
BUILDS = (
    "6.1.0-47-amd64 #1 SMP Debian 6.1.170-3",
    "5.14.0-284.30.1.el9_2.x86_64",
    "6.8.0-58-generic #60-Ubuntu",
    "6.6.0-69.0.0.75.oe2403sp1.x86_64",
)
BRANCHES = tuple(f"5.{number}" for number in range(12, 17))
COMMITS = 10_000
TAGS = 100
_TIMES = 5
"""The smallest of so many runs counts."""


def _stream(out: object, bases: dict[str, str]) -> None:
    """Writes a fast-import stream: a fix in the middle of every branch, and a tag after every hundredth commit."""
    write = out.write  # type: ignore[attr-defined]
    time = 1_700_000_000
    for branch, base in bases.items():
        for number in range(1, COMMITS + 1):
            time += 60
            sublevel, rest = divmod(number, COMMITS // TAGS)
            upstream = FIX if number == COMMITS // 2 else f"{number:040x}"
            subject = f"Linux {branch}.{sublevel}" if rest == 0 else f"net: a fix number {number}"
            message = f"{subject}\n\n[ Upstream commit {upstream} ]\n\n{'A line of the message.' * 20}\n".encode()
            who = b"A Developer <dev@example.org> %d +0000" % time
            write(b"commit refs/heads/linux-%s.y\nauthor %s\ncommitter %s\n" % (branch.encode(), who, who))
            write(b"data %d\n%s\n" % (len(message), message))
            write(b"from %s\n\n" % base.encode() if number == 1 else b"\n")
            if rest == 0:
                write(
                    b"reset refs/tags/v%s.%d\nfrom refs/heads/linux-%s.y\n\n"
                    % (branch.encode(), sublevel, branch.encode())
                )


def surveyed_repository() -> Path:
    """Returns the cached repository, which shares the objects of the kernel-sized one. The first call makes it."""
    source = kernel_shaped_repository()
    target = cache_directory() / f"bench-survey-{source.stem}.git"
    if (target / "complete").exists():
        return target
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["git", "clone", "-q", "--bare", "--shared", str(source), str(target)], check=True)
    git = ["git", f"--git-dir={target}"]
    bases = {
        branch: subprocess.run(
            [*git, "rev-parse", f"v{branch}^{{commit}}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for branch in BRANCHES
    }
    with subprocess.Popen([*git, "fast-import", "--quiet", "--force"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        _stream(process.stdin, bases)
        process.stdin.close()
        if process.wait() != 0:
            raise SystemExit("git fast-import failed")
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    (target / "complete").touch()
    return target


def _look_up() -> None:
    """Prints the processor time of audits by name: a plain version's, and those of builds that surveys decide."""
    command = str(Path(sys.executable).with_name("tailcall-audit"))
    taken = {name: run([command, "--kernel", name], 20).processor for name in (PLAIN, *BUILDS)}
    for name, seconds in taken.items():
        print(f"{name:46} {seconds * 1000:6.1f} ms of the processor   {seconds / taken[PLAIN]:5.2f} x {PLAIN}")


def main() -> None:
    """Prints times, peak memory and the ratios."""
    _look_up()
    repository = surveyed_repository()
    ranges = [f"v{branch}..v{branch}.{TAGS}" for branch in BRANCHES]
    log = "; ".join(f"git --git-dir={repository} log {item}" for item in ranges)
    floor = run(["sh", "-c", log], _TIMES)
    survey = [sys.executable, "-c", "from bench.survey_once import run; run()"]
    branches = [word for branch in BRANCHES for word in ("--branch", branch)]
    found = run([*survey, "--stable", str(repository), *branches], _TIMES)
    for what, taken in (
        (f"git log over {len(BRANCHES)} ranges of {COMMITS:,} commits", floor),
        ("tailcall-audit survey --stable", found),
    ):
        print(
            f"{what:46} {taken.seconds:6.2f} s   {taken.processor:6.2f} s of the processor   {taken.megabytes:5.0f} MB"
        )
    print(
        f"ratio {found.seconds / floor.seconds:.2f}, of processor time {found.processor / floor.processor:.2f} (to reach: 2)"
    )
    git = ["git", f"--git-dir={repository}"]
    oldest = subprocess.run([*git, "rev-parse", "v4.2^{commit}"], check=True, capture_output=True, text=True).stdout
    everything = run([*survey, "--oldest", oldest.strip(), "--stable", str(repository)], 1)
    whole = run(["sh", "-c", f"{log}; git --git-dir={repository} log v6.1"], 1)
    print(
        f"with mainline: {everything.seconds:.2f} s against {whole.seconds:.2f} s, ratio {everything.seconds / whole.seconds:.2f},"
        f" of processor time {everything.processor / whole.processor:.2f}"
    )


if __name__ == "__main__":
    main()
