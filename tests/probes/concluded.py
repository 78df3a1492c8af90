"""Runs a probe on a stand-in for the kernel."""

from __future__ import annotations

from collections.abc import Callable

from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.probe import InconclusiveError, Result


def concluded(run: Callable[[Bpf], Result] | None, kernel: Bpf) -> tuple[str, bool] | None:
    """Returns the state that a probe saw, and True if it is conclusive; None if the probe decides nothing."""
    assert run is not None
    try:
        result = run(kernel)
    except InconclusiveError:
        return None
    return result.state, result.conclusive
