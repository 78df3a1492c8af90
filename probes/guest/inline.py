"""Runs probes in the first process of a guest. In emulation, a process for each probe, or a second one for all, would
take a part of their time: its memory is copied page by page.
"""

from __future__ import annotations

from tailcall_audit.probes.observe import left_in_kernel, observe
from tailcall_audit.probes.probe import COULD_NOT_RUN, Probe, Result

__all__ = ["Inline"]


class Inline:
    """Runs probes in this process, and records the objects that they made in the kernel.

    If a probe ends the first process, the kernel panics. That costs one boot, as a probe that panics the kernel does,
    and the result of this probe. One that hangs is given up with its guest. Controls that several probes share run
    once: `tailcall_audit.probes.kernel.programs.control` remembers what it saw.
    """

    def __init__(self) -> None:
        self._made: list[tuple[str, int]] = []

    def run(self, probe: Probe) -> Result:
        """Runs one probe and returns its result."""
        try:
            result, made = observe(probe, in_guest=True)
        except BaseException as error:
            return Result(COULD_NOT_RUN, f"internal error: {type(error).__name__}: {error}", False)
        self._made += made
        return result

    def leftovers(self) -> list[str] | None:
        """Returns the objects of the probes that the kernel still has after a moment: none if all were freed."""
        return left_in_kernel(self._made)
