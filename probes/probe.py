"""The types of a probe and of its result."""

from __future__ import annotations

from tailcall_audit.probes.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from tailcall_audit.probes.kernel.bpf import Bpf

__all__ = ["ABSENT", "COULD_NOT_RUN", "PRESENT", "InconclusiveError", "Probe", "Result", "UnreachableError", "slug_on"]

# No enum: its import takes a tenth of a second in an emulated guest. The analyzer converts these to an enum.
PRESENT, ABSENT, COULD_NOT_RUN = "present", "absent", "could-not-run"


class InconclusiveError(Exception):
    """Raised by a probe that cannot decide about its defect; the message gives the reason. The runner catches it."""


class UnreachableError(InconclusiveError):
    """Raised if the architecture lacks a capability that the defect needs. `lacks` names the capability."""

    def __init__(self, lacks: str, message: str) -> None:
        super().__init__(message)
        self.lacks = lacks


if TYPE_CHECKING:

    class Result(NamedTuple):
        """The result for one defect: PRESENT, ABSENT or COULD_NOT_RUN, and in `detail` the observation or the reason.

        `conclusive` is False if ABSENT only means that the defect could not be reached here, for example on a kernel
        without the feature that it needs. Such a result does not make a verdict *fixed*. `lacks` names the capability
        of the catalogue that the defect needs and this architecture was seen to lack; it is empty otherwise.
        """

        state: str
        detail: str
        conclusive: bool = True
        lacks: str = ""

    class Probe(NamedTuple):
        """One probe: the slug of its defect, a description of what it loads, and the function that runs it.

        `hazard` describes how the probe may harm a kernel that has the defect: such a probe never runs on a host.
        `panics_in` names the functions that an oops would show: of the kernel, or ``bpf_prog_NAME`` for a program of
        the probe. `faults_at` is the address that an oops would
        show because the probe leads the kernel there; 0 for none. `safe` runs on a host instead. `twins` are the slugs
        of the same defect in the code of other architectures, as pairs of architecture and slug.
        """

        slug: str
        loads: str
        run: Callable[[Bpf], Result]
        hazard: str | None = None
        panics_in: tuple[str, ...] = ()
        safe: Callable[[Bpf], Result] | None = None
        twins: tuple[tuple[str, str], ...] = ()
        faults_at: int = 0
else:
    Result = record(__name__, "Result", ("state", "detail", "conclusive", "lacks"), (True, ""))
    Probe = record(
        __name__,
        "Probe",
        ("slug", "loads", "run", "hazard", "panics_in", "safe", "twins", "faults_at"),
        (None, (), None, (), 0),
    )


def slug_on(probe: Probe, architecture: str) -> str:
    """Returns the slug of the defect that a probe observes on an architecture."""
    return dict(probe.twins).get(architecture, probe.slug)
