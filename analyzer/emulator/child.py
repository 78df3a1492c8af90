"""Runs work in a separate process with limits: an image may be hostile, and the emulator compiles its code to host
code.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

from tailcall_audit.analyzer.emulator.confinement import confine
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.probes.processes import fork_worker

__all__ = ["Limits", "run_bounded"]

_CHUNK = 1 << 16
_LONGEST = 1 << 20
"""The most bytes that an answer may have."""


class Limits:
    """The most that the process may use: bytes of memory beyond what it starts with, seconds of processor time, and
    seconds by the clock.
    """

    def __init__(self, memory: int = 3 << 30, seconds: int = 60, clock: int = 600) -> None:
        self.memory = memory
        self.seconds = seconds
        self.clock = clock


def run_bounded(work: Callable[[], bytes], limits: Limits | None = None) -> bytes:
    """Returns what `work` returns, computed in a process that can do nothing else. Raises EmulationError if that
    process ends without an answer.

    `work` must have loaded all modules that it needs: the process can open no file. It starts with a copy of this
    process's memory.
    """
    limits = limits or Limits()

    def confined(writer: int) -> None:
        _close_all_but(writer)
        confine(limits.memory, limits.seconds)
        data = work()
        while data:
            data = data[os.write(writer, data) :]

    child, reader = fork_worker(confined)
    try:
        data = _read(reader, time.monotonic() + limits.clock)
    finally:
        os.close(reader)
        _end(child)
    if not data:
        raise EmulationError(Why.CRASHED, f"within {limits.seconds} s of the processor and {limits.clock} s")
    return data


def _close_all_but(kept: int) -> None:
    """Closes every descriptor except one. The standard ones lead to /dev/null."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        if standard != kept:
            os.dup2(nothing, standard)
    os.closerange(3, kept)
    os.closerange(kept + 1, max(kept + 1, os.sysconf("SC_OPEN_MAX")))


def _read(reader: int, deadline: float) -> bytes:
    """Returns everything up to the end of the pipe; nothing if it comes too late or is too large."""
    found = bytearray()
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return b""
        piece = os.read(reader, _CHUNK)
        if not piece:
            return bytes(found)
        found += piece
        if len(found) > _LONGEST:
            return b""


def _end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        return
    os.waitpid(child, 0)
