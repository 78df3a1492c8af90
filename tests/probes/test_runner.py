"""The runner: a process each, and what becomes of one that dies. No probe here calls bpf(2)."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tailcall_audit.probes import defects as every
from tailcall_audit.probes.kernel.bpf import Bpf
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, PRESENT, InconclusiveError, Probe, Result
from tailcall_audit.probes.runner import Runner
from tests.probes.failing import die, hang


def probe(
    run: Callable[[Bpf], Result], hazard: str | None = None, safe: Callable[[Bpf], Result] | None = None
) -> Probe:
    return Probe("x", "nothing", run, hazard, (), safe)


def seen(_: Bpf) -> Result:
    return Result(PRESENT, "seen")


def raises(error: BaseException) -> Callable[[Bpf], Result]:
    def run(_: Bpf) -> Result:
        raise error

    return run


def test_what_a_probe_says_arrives() -> None:
    assert Runner(in_guest=True).run(probe(seen)) == Result(PRESENT, "seen", True)
    assert Runner(in_guest=True).run(probe(raises(InconclusiveError("why")))) == Result(COULD_NOT_RUN, "why", False)


def test_one_that_dies_hangs_or_fails_costs_its_own_answer_only() -> None:
    runner = Runner(in_guest=True, limit=0.3)
    assert runner.run(probe(hang)).detail == "no answer within 0.3 s"
    assert runner.run(probe(die)).detail == f"its process was killed by signal {int(signal.SIGKILL)}"
    assert runner.run(probe(raises(MemoryError("x")))).detail == "internal error: MemoryError: x"
    assert runner.run(probe(raises(SystemExit(3)))).state == COULD_NOT_RUN
    assert runner.run(probe(seen)).state == PRESENT


def test_a_hazardous_probe_never_runs_on_a_host() -> None:
    def safe(_: Bpf) -> Result:
        return Result(ABSENT, "looked only")

    assert Runner(in_guest=False).run(probe(seen, "panics", safe)) == Result(ABSENT, "looked only", True)
    assert Runner(in_guest=False).run(probe(seen, "panics")).state == COULD_NOT_RUN
    assert Runner(in_guest=True).run(probe(seen, "panics", safe)).state == PRESENT


def test_what_may_end_a_kernel_is_hazardous_and_has_something_safe_to_look_at() -> None:
    hazardous = {item.slug: item.safe for item in every.PROBES if item.hazard is not None}
    assert set(hazardous) == {
        "freplace-attached-panic",
        "freplace-attached-refused",
        "loongarch-arena-count-slot",
        "loongarch-prologue-off-by-one",
        "loongarch-tailcall-jump-offset",
        "riscv-kcfi-tailcall-stack",
        "tailcall-direct-in-callback",
    }
    assert all(hazardous.values())


def test_hazardous_probes_run_last() -> None:
    order = [item.hazard is not None for item in every.PROBES]
    assert order == sorted(order)


def test_a_detail_of_any_length_and_with_any_sign_arrives() -> None:
    text = "\udcff\x1b[31m" + "x" * 500_000
    result = Runner(in_guest=True).run(probe(lambda _: Result(ABSENT, text)))
    assert result.state == ABSENT
    assert len(result.detail) >= 500_000


@pytest.mark.parametrize("slug", [item.slug for item in every.PROBES])
def test_every_probe_is_of_a_defect_of_the_catalogue(slug: str) -> None:
    from tailcall_audit.analyzer.catalog.load import load_catalog

    assert load_catalog().find(slug)
