"""Runs a probe in this process, and looks for what probes left in the kernel."""

from __future__ import annotations

import time

from tailcall_audit.probes.kernel.bpf import Bpf, BpfError
from tailcall_audit.probes.kernel.privileges import refusal_in_words
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, InconclusiveError, Probe, Result, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["left_in_kernel", "observe"]


def observe(probe: Probe, in_guest: bool) -> tuple[Result, list[tuple[str, int]]]:
    """Runs a probe in this process. On a host the safe variant replaces a hazardous probe; no option overrides that."""
    run = probe.run if in_guest or probe.hazard is None else probe.safe
    if run is None:
        return Result(COULD_NOT_RUN, "only in a guest", False), []
    ids: list[tuple[str, int]] = []
    try:
        with Bpf() as kernel:
            ids = kernel.ids
            try:
                result = run(kernel)
            except BpfError as error:
                result = Result(COULD_NOT_RUN, f"unexpected: {refusal_in_words(kernel, error)}", False)
    except UnreachableError as reason:
        result = Result(ABSENT, str(reason), False, reason.lacks)
    except InconclusiveError as reason:
        result = Result(COULD_NOT_RUN, str(reason), False)
    except OSError as error:
        result = Result(COULD_NOT_RUN, str(error), False)
    return result, ids


def left_in_kernel(made: Sequence[tuple[str, int]]) -> list[str] | None:
    """Returns the objects, by kind and number, that the kernel still has after a moment: an empty list if all were
    freed, None without CAP_SYS_ADMIN.
    """
    left = {kind: {number for of, number in made if of == kind} for kind, _ in made}
    try:
        with Bpf() as kernel:
            for _ in range(50):
                left = {
                    kind: numbers & kernel.numbers(kind, min(numbers), max(numbers))
                    for kind, numbers in left.items()
                    if numbers
                }
                if not any(left.values()):
                    break
                time.sleep(0.02)  # programs and maps are freed after a grace period
            return [f"{kind} {number}" for kind, numbers in left.items() for number in sorted(numbers)]
    except (BpfError, OSError):
        return None
