"""The types of a probe and of its result."""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple

    from tailcall_audit.probes.kernel.bpf import Bpf

__all__ = ["ABSENT", "COULD_NOT_RUN", "PRESENT", "InconclusiveError", "Probe", "Result", "UnreachableError", "slug_on"]

# No enum: its import alone is a tenth of a second in an emulated guest. `tailcall_audit.analyzer.policy.agreement` turns these into one.
PRESENT, ABSENT, COULD_NOT_RUN = "present", "absent", "could-not-run"


class InconclusiveError(Exception):
    """Raised by a probe that can say nothing about its defect; the message gives the reason. The runner catches it."""


class UnreachableError(InconclusiveError):
    """The architecture cannot do what the defect needs, so it cannot be reached here. `lacks` names the capability."""

    def __init__(self, lacks: str, message: str) -> None:
        super().__init__(message)
        self.lacks = lacks


if TYPE_CHECKING:

    class Result(NamedTuple):
        """What was seen of one defect: PRESENT, ABSENT or COULD_NOT_RUN, and how that was seen, or why not.

        `conclusive` is False if an absence only means that the defect could not be reached here, as on a kernel that
        never had what it needs. Such an absence does not make a verdict *fixed*. `lacks` names the capability of the
        catalogue that this architecture was seen to lack, without which the defect cannot be reached; it is empty
        otherwise.
        """

        state: str
        detail: str
        conclusive: bool = True
        lacks: str = ""

    class Probe(NamedTuple):
        """One probe: the slug of its defect, what it loads in a sentence, and the function that runs it.

        `hazard` says what the kernel might do when the defect is there: such a probe never runs on a host. `panics_in`
        names the kernel functions that an oops would show. `safe` is what can be observed on a host instead. `twins`
        are the slugs of the same defect in the code of other architectures, as pairs of architecture and slug.
        """

        slug: str
        loads: str
        run: Callable[[Bpf], Result]
        hazard: str | None = None
        panics_in: tuple[str, ...] = ()
        safe: Callable[[Bpf], Result] | None = None
        twins: tuple[tuple[str, str], ...] = ()
else:
    # typing.NamedTuple would make every start in an emulated guest load typing, a tenth of a second.
    Result = namedtuple("Result", "state detail conclusive lacks", defaults=(True, ""))
    Probe = namedtuple("Probe", "slug loads run hazard panics_in safe twins", defaults=(None, (), None, ()))


def slug_on(probe: Probe, architecture: str) -> str:
    """Returns the slug of the defect that a probe shows on an architecture."""
    return dict(probe.twins).get(architecture, probe.slug)
