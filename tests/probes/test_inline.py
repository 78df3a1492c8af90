"""The probes of a guest share its first process. No probe here calls bpf(2)."""

from __future__ import annotations

import os

from tailcall_audit.probes.guest.inline import Inline
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.probe import (
    ABSENT,
    COULD_NOT_RUN,
    PRESENT,
    InconclusiveError,
    Probe,
    Result,
    UnreachableError,
)


def _process(_: Bpf) -> Result:
    return Result(PRESENT, str(os.getpid()))


def _unsure(_: Bpf) -> Result:
    raise InconclusiveError("why")


def _unreachable(_: Bpf) -> Result:
    raise UnreachableError("freplace-attach", "not here")


def _leave(_: Bpf) -> Result:
    raise SystemExit(3)


def _fail(_: Bpf) -> Result:
    raise MemoryError("x")


def _run(what: object) -> Result:
    return Inline().run(Probe("slug", "nothing", what))  # type: ignore[arg-type]


def test_a_probe_runs_in_this_process() -> None:
    assert _run(_process) == Result(PRESENT, str(os.getpid()))


def test_what_a_probe_raises_costs_its_result_only() -> None:
    assert _run(_unsure) == Result(COULD_NOT_RUN, "why", False)
    assert _run(_unreachable) == Result(ABSENT, "not here", False, "freplace-attach")
    assert _run(_leave) == Result(COULD_NOT_RUN, "internal error: SystemExit: 3", False)
    assert _run(_fail) == Result(COULD_NOT_RUN, "internal error: MemoryError: x", False)


def test_a_probe_that_runs_only_in_a_guest_runs_whole() -> None:
    hazardous = Probe("slug", "nothing", _process, "may loop", safe=_unsure)
    assert Inline().run(hazardous).state == PRESENT
