"""What programs mean on kernels: hits, refusals, the matrix, and the oldest release of a branch without a hit."""

from __future__ import annotations

import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.catalog.load import shipped_catalog
from tailcall_audit.analyzer.exposure.evaluate import expose
from tailcall_audit.analyzer.exposure.join import Cell, has_hit, has_possible_hit, hit_of, join, matrix
from tailcall_audit.analyzer.exposure.releases import oldest_without_hit
from tailcall_audit.analyzer.exposure.types import Exposed, State
from tailcall_audit.analyzer.gates.gate import Gate, Outcome, decide, gated_report
from tailcall_audit.analyzer.model import Report
from tailcall_audit.analyzer.model import State as KernelState
from tailcall_audit.analyzer.programs.types import ProgramSet
from tests.exposure.shapes import caller, filled, packet, plain
from tests.exposure.twins import TWINS

_CATALOG = shipped_catalog()
_COMPILED = {"jited": True}


def on(
    programs: ProgramSet, *kernels: str, closed: bool = True, only: tuple[str, ...] = (), arch: str = "x86_64"
) -> Report:
    report = audit(kernels=kernels, arch=arch, only=only)
    defects = tuple(item for item in _CATALOG.defects if not only or item.slug in only)
    compiled = programs._replace(programs=tuple(item._replace(jited=True) for item in programs.programs))
    return join(report, expose(_CATALOG, [compiled], closed=closed, defects=defects))


def exposed(report: Report, slug: str, kernel: int = 0) -> Exposed:
    found = [item.exposed for item in report.targets[kernel].verdicts if item.defect.slug == slug]
    assert len(found) == 1
    assert found[0] is not None
    return found[0]


@pytest.mark.parametrize(
    ("kernel", "programs", "hit"),
    [
        (KernelState.AFFECTED, State.MET, True),
        (KernelState.AFFECTED, State.POSSIBLE, None),
        (KernelState.AFFECTED, State.NOT_MET, False),
        (KernelState.UNKNOWN, State.MET, None),
        (KernelState.UNKNOWN, State.POSSIBLE, None),
        (KernelState.UNKNOWN, State.NOT_MET, False),
        (KernelState.FIXED, State.MET, False),
        (KernelState.NOT_AFFECTED, State.MET, False),
    ],
)
def test_a_hit_takes_both(kernel: KernelState, programs: State, hit: bool | None) -> None:
    assert hit_of(kernel, programs) is hit


def test_6_1_170_is_hit_by_a_program_with_two_calls_and_not_by_its_twin() -> None:
    two = on(filled(caller(2)), "6.1.170", only=("x86-hierarchy",))
    assert exposed(two, "x86-hierarchy").hit is True
    assert has_hit(two)
    one = on(filled(caller(1)), "6.1.170", only=("x86-hierarchy",))
    assert exposed(one, "x86-hierarchy").hit is False
    assert not has_hit(one)
    assert not has_possible_hit(one)
    # What programs do changes no verdict.
    assert one.targets[0].states == {"x86-hierarchy": KernelState.AFFECTED}


def test_a_fixed_kernel_refuses_what_an_affected_one_takes() -> None:
    found = on(filled(packet("call")), "6.1.170", "6.12.94", only=("tailcall-pkt-pointers",))
    affected, fixed = exposed(found, "tailcall-pkt-pointers", 0), exposed(found, "tailcall-pkt-pointers", 1)
    assert (affected.hit, affected.refused) == (True, State.NOT_MET)
    assert (fixed.hit, fixed.refused) == (False, State.MET)
    assert has_hit(found)


def test_a_refusal_that_a_later_commit_takes_back_is_none_there() -> None:
    """1a4607ffba35 refuses a packet pointer behind a tail call that was not taken, until e3245f899043 (6.19)."""
    programs = filled(packet("tail call"))
    found = on(programs, "6.12.94", "7.3.4", only=("tailcall-pkt-pointers", "tailcall-failed-pkt-pointers"))
    assert exposed(found, "tailcall-pkt-pointers", 0).refused is State.MET
    assert exposed(found, "tailcall-failed-pkt-pointers", 0).hit is True
    assert exposed(found, "tailcall-pkt-pointers", 1).refused is State.NOT_MET
    assert exposed(found, "tailcall-failed-pkt-pointers", 1).hit is False


def test_a_kernel_of_another_architecture_refuses_nothing_for_it() -> None:
    found = on(filled(caller(2)), "6.1.170", only=("arm64-tailcall-hierarchy",))
    assert exposed(found, "arm64-tailcall-hierarchy").hit is False


def test_the_gate_counts_hits_and_refusals() -> None:
    for programs, outcome in (
        (filled(caller(2)), Outcome.AFFECTED),
        (filled(caller(1)), Outcome.PASSED),
    ):
        report, tally = gated_report(on(programs, "6.1.170", only=("x86-hierarchy",)), Gate())
        assert decide(tally, Gate()) is outcome
        assert report.targets[0].states["x86-hierarchy"] is KernelState.AFFECTED
    _, tally = gated_report(on(filled(caller(1)), "6.1.170", closed=False, only=("x86-hierarchy",)), Gate())
    assert decide(tally, Gate()) is Outcome.UNKNOWN


def test_the_matrix_has_the_worst_of_each_program_on_each_kernel() -> None:
    programs = filled(caller(2), plain("other"))
    report = audit(kernels=["6.1.170", "6.12.94"], arch="x86_64", only=("x86-hierarchy",))
    exposures = expose(_CATALOG, [programs], closed=True, defects=_CATALOG.find("x86-hierarchy"))
    rows = matrix(join(report, exposures), exposures)
    assert [(row.program, row.cells) for row in rows] == [
        ("entry", (Cell.HIT, Cell.GOOD)),
        ("other", (Cell.GOOD, Cell.GOOD)),
    ]


def test_the_oldest_release_of_a_branch_without_a_hit() -> None:
    """116e04ba1459 (pitfall 4) is in 6.12, 6.11.2 and 6.10.13; 6.1.y and 6.6.y have no release with it."""
    exposures = expose(_CATALOG, [filled(caller(2))], closed=True, defects=_CATALOG.find("x86-hierarchy"))
    found = {item.branch: item for item in oldest_without_hit(_CATALOG, exposures)}
    assert {name: found[name].without_hit for name in ("6.1", "6.6", "6.10", "6.11", "6.12")} == {
        "6.1": None,
        "6.6": None,
        "6.10": "6.10.13",
        "6.11": "6.11.2",
        "6.12": "6.12",
    }
    assert found["6.1"].open == ("x86-hierarchy",)


def test_programs_that_meet_nothing_may_take_the_first_release() -> None:
    exposures = expose(_CATALOG, [filled(plain("entry"), slots={})], closed=True)
    assert all(item.without_hit == item.branch for item in oldest_without_hit(_CATALOG, exposures))


def test_a_defect_of_another_architecture_does_not_count_for_a_branch() -> None:
    exposures = expose(_CATALOG, [filled(caller(2))], closed=True, defects=_CATALOG.find("s390-tailcall-hierarchy"))
    found = {item.branch: item for item in oldest_without_hit(_CATALOG, exposures, "x86_64")}
    assert found["6.1"].without_hit == "6.1"


def test_every_program_has_its_own_hits() -> None:
    found = on(filled(caller(2), plain("other")), "6.1.170", only=("x86-hierarchy",))
    assert exposed(found, "x86-hierarchy").hits == (True, False)


def test_a_fact_of_the_twins_hits_where_the_kernel_is_affected() -> None:
    found = on(TWINS["extension-that-tail-calls-its-target"].met, "6.1.170", "6.1.191", only=("freplace-loop",))
    assert exposed(found, "freplace-loop", 0).hit is True
    assert (exposed(found, "freplace-loop", 1).hit, exposed(found, "freplace-loop", 1).refused) == (False, State.MET)
