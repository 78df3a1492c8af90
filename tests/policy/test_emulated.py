"""What running functions says: above how code looks, below what a guest shows, and never that a defect did not come in."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.formats.compared import render
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import (
    Agreement,
    Evidence,
    EvidenceKind,
    Observation,
    ObservationState,
    Presence,
    Report,
    State,
    TargetKind,
    TargetReport,
)
from tailcall_audit.analyzer.policy.agreement import observe
from tailcall_audit.analyzer.policy.emulated import emulated
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.verdict import judge
from tailcall_audit.analyzer.policy.weigh import weigh
from tailcall_audit.probes.probe import Result

EXTENSION, PANIC = "1c123c567fb1", "f7866c358733"
PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN


def said(kind: EvidenceKind, commit: str, presence: Presence) -> Evidence:
    return Evidence(kind, commit, presence, "a test", architecture="x86_64", unreadable=presence is UNKNOWN)


@pytest.mark.parametrize("presence", [PRESENT, ABSENT])
def test_what_code_does_outranks_how_it_looks_and_the_other_is_shown(presence: Presence) -> None:
    other = ABSENT if presence is PRESENT else PRESENT
    weighed = weigh([said(EvidenceKind.CODE, PANIC, other), said(EvidenceKind.EMULATION, PANIC, presence)])
    assert weighed.presence is presence
    assert weighed.disagreements == (f"code says {other.value} (a test)",)


def test_no_answer_leaves_the_answer_to_what_was_read() -> None:
    weighed = weigh([said(EvidenceKind.CODE, PANIC, PRESENT), said(EvidenceKind.EMULATION, PANIC, UNKNOWN)])
    assert weighed.presence is PRESENT


WEAKER = [EvidenceKind.CODE, EvidenceKind.BTF, EvidenceKind.RELEASE, EvidenceKind.CHANGELOG]


@pytest.mark.parametrize("kind", WEAKER)
def test_a_failed_control_lets_others_say_that_a_fix_is_missing_and_not_that_it_is_there(kind: EvidenceKind) -> None:
    """As on Debian's arm64 kernels of 5.10, whose JIT has no tail calls in functions: the control counts 61, and the
    release says that the fix is missing. A kernel that fails it and whose release has the fix is not what it says.
    """
    failed = said(EvidenceKind.EMULATION, PANIC, UNKNOWN)._replace(unreadable=False, settle="boot it")
    missing = weigh([failed, said(kind, PANIC, ABSENT)])
    assert missing.presence is ABSENT
    there = weigh([failed, said(kind, PANIC, PRESENT)])
    assert there.presence is UNKNOWN
    assert there.decisive is failed
    assert there.disagreements == (f"{kind.value} says present (a test)",)
    both = weigh([failed, said(kind, PANIC, UNKNOWN)])
    assert (both.presence, both.decisive) == (UNKNOWN, failed)


@pytest.mark.parametrize("kind", WEAKER)
def test_a_failed_control_lets_no_other_say_that_what_a_defect_needs_is_missing(
    catalog: Catalog, kind: EvidenceKind
) -> None:
    """1c123c567fb1 is needed for pitfall 5: a release without it is not affected, if the functions are those of it."""
    failed = said(EvidenceKind.EMULATION, EXTENSION, UNKNOWN)._replace(unreadable=False, settle="boot it")
    missing = said(kind, EXTENSION, ABSENT)
    assert state(catalog, "freplace-attached-panic", [missing]) is State.NOT_AFFECTED
    (defect,) = catalog.find("freplace-attached-panic")
    verdict = judge(defect, Facts([failed, missing], "x86_64"), "x86_64")
    assert (verdict.state, verdict.settle) == (State.UNKNOWN, "boot it")
    # No answer for another reason says nothing of the kernel.
    lost = said(EvidenceKind.EMULATION, EXTENSION, UNKNOWN)
    assert state(catalog, "freplace-attached-panic", [lost, missing]) is State.NOT_AFFECTED


def state(catalog: Catalog, slug: str, evidence: list[Evidence]) -> State:
    (defect,) = catalog.find(slug)
    facts = Facts(evidence, "x86_64")
    return judge(defect, facts, "x86_64").state


def test_a_behaviour_never_proves_that_an_introducing_commit_is_absent(catalog: Catalog) -> None:
    """1c123c567fb1 fixes pitfall 1 and is needed for the panic of pitfall 5."""
    for kind, expected in ((EvidenceKind.EMULATION, State.UNKNOWN), (EvidenceKind.CODE, State.NOT_AFFECTED)):
        assert state(catalog, "freplace-attached-panic", [said(kind, EXTENSION, ABSENT)]) is expected


def test_the_same_behaviour_shows_that_the_fix_of_pitfall_1_is_absent(catalog: Catalog) -> None:
    (first,) = catalog.find("freplace-tailcallee")
    needed = [said(EvidenceKind.RELEASE, key, PRESENT) for key in ("04fd61ab36ec", "be8704ff07d2")]
    shown = [said(EvidenceKind.EMULATION, key, ABSENT) for key in (EXTENSION, "c04992612ed4")]
    assert state(catalog, first.slug, [*needed, *shown]) is State.AFFECTED


def test_a_healthy_run_is_the_fix_and_a_guest_that_shows_the_defect_outranks_it(catalog: Catalog) -> None:
    (defect,) = catalog.find("freplace-tailcallee")
    verdict = judge(defect, Facts([said(EvidenceKind.EMULATION, EXTENSION, PRESENT)], "x86_64"), "x86_64")
    assert verdict.state is State.FIXED
    seen = observe(verdict, Result("present", "EINVAL", True), "in a guest")
    assert seen.state is State.AFFECTED
    assert seen.observation is not None
    assert seen.observation.agreement is Agreement.CONTRADICTED


@pytest.mark.parametrize(
    ("slug", "presence", "expected"),
    [
        ("freplace-tailcallee", PRESENT, ObservationState.ABSENT),
        ("freplace-loop", PRESENT, ObservationState.ABSENT),
        ("freplace-loop", ABSENT, ObservationState.PRESENT),
        ("freplace-loop", UNKNOWN, ObservationState.COULD_NOT_RUN),
        ("tracing-dst-prog-type-confusion", PRESENT, ObservationState.COULD_NOT_RUN),
    ],
)
def test_what_emulation_says_by_itself(
    catalog: Catalog, slug: str, presence: Presence, expected: ObservationState
) -> None:
    (defect,) = catalog.find(slug)
    evidence = [said(EvidenceKind.EMULATION, key, presence) for key in defect.commits]
    verdict = judge(defect, Facts(evidence, "x86_64"), "x86_64")
    assert emulated(verdict) is expected


def test_a_lab_shows_prediction_emulation_and_guest_side_by_side(catalog: Catalog) -> None:
    (defect,) = catalog.find("freplace-loop")
    verdict = judge(defect, Facts([said(EvidenceKind.EMULATION, "d6083f040d5d", PRESENT)], "x86_64"), "x86_64")
    observation = Observation(ObservationState.PRESENT, "61 entries", Agreement.CONTRADICTED, State.FIXED, "in a guest")
    target = TargetReport("kernel", TargetKind.IMAGE, {}, (verdict._replace(observation=observation),))
    out = render(Report((target,), catalog), View())
    assert "fixed, absent, present" in out


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({}, ObservationState.COULD_NOT_RUN),
        ({"d6083f040d5d": UNKNOWN}, ObservationState.COULD_NOT_RUN),
        ({"d6083f040d5d": PRESENT}, ObservationState.ABSENT),
        ({"d6083f040d5d": ABSENT}, ObservationState.PRESENT),
        ({"be8704ff07d2": ABSENT}, ObservationState.COULD_NOT_RUN),
    ],
)
def test_what_the_emulator_says_by_itself(
    catalog: Catalog, there: dict[str, Presence], expected: ObservationState
) -> None:
    (defect,) = catalog.find("freplace-loop")
    evidence = [said(EvidenceKind.EMULATION, commit, presence) for commit, presence in there.items()]
    evidence.append(said(EvidenceKind.RELEASE, "d6083f040d5d", PRESENT))
    assert emulated(judge(defect, Facts(evidence, "x86_64"), "x86_64")) is expected
