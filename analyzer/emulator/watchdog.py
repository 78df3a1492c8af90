"""Stops runs of the emulator that take too long. Processor time counts, so a busy machine changes no answer."""

from __future__ import annotations

import os
import threading
import time

import unicorn as uc

__all__ = ["WATCHDOG", "Watchdog"]

_WATCH = 0.05
"""Seconds between two checks."""


class Watchdog:
    """Stops a machine whose run takes too long. One thread, started with the first run, watches all runs."""

    def __init__(self) -> None:
        self._running: tuple[uc.Uc, float] | None = None
        self._owner = 0
        self._late = False

    def start(self, machine: uc.Uc, seconds: float) -> None:
        """Starts to watch a run that may take `seconds` of processor time."""
        if self._owner != os.getpid():  # a forked child has no copy of the thread
            self._owner = os.getpid()
            threading.Thread(target=self._watch, daemon=True).start()
        self._late = False
        self._running = (machine, time.process_time() + seconds)

    def stop(self) -> bool:
        """Ends the watch. Returns True if the run was stopped because it took too long."""
        self._running = None
        return self._late

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH)
            running = self._running
            if running is not None and time.process_time() > running[1]:
                self._late = True
                running[0].emu_stop()


WATCHDOG = Watchdog()
"""The watchdog of this process."""
