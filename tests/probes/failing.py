"""Runs of probes that give no answer."""

from __future__ import annotations

import os
import signal
import time

from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.probe import PRESENT, Result


def hang(_: Bpf) -> Result:
    """Sleeps for a minute."""
    time.sleep(60)
    return Result(PRESENT, "")


def die(_: Bpf) -> Result:
    """Kills its own process."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Result(PRESENT, "")
