"""Runs commands and measures their time and peak memory."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Run(NamedTuple):
    """The best of several runs: seconds, and the most memory (MB) that the command and its children held at once.

    `processor` is the processor time in seconds of the command and its children. Other load on the machine changes it
    little.
    """

    seconds: float
    megabytes: float
    processor: float = 0.0


def installed_environment() -> dict[str, str]:
    """Returns this process's environment, changed so that Python writes byte code as for an installed package."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _resident(pid: int) -> int:
    """Returns the resident memory in kB of a process and its descendants; 0 if it has ended."""
    total = 0
    try:
        tasks = Path(f"/proc/{pid}/task").iterdir()
        children = [child for task in tasks for child in (task / "children").read_text().split()]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    except (OSError, IndexError):
        return 0
    return total + sum(_resident(int(child)) for child in children)


def run(command: Sequence[str], times: int = 3, environment: Mapping[str, str] | None = None) -> Run:
    """Runs a command several times and discards its output."""
    best = peak = least = 0.0
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**installed_environment(), **(environment or {})},
        )
        done = threading.Event()
        seen = [0]

        def watch(pid: int = process.pid, done: threading.Event = done, seen: list[int] = seen) -> None:
            while not done.wait(0.02):
                seen[0] = max(seen[0], _resident(pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        process.wait()
        taken = time.perf_counter() - start
        done.set()
        watcher.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best or taken, taken)
        least = min(least or used, used)
        peak = max(peak, seen[0] / 1024)
    return Run(best, peak, least)
