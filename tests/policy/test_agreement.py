"""What an observation does to a prediction."""

from __future__ import annotations

import pytest

from tailcall_audit import Catalog, Rule, State, audit
from tailcall_audit.analyzer.model import Agreement, Confidence, Evidence, EvidenceKind, Presence, Verdict
from tailcall_audit.analyzer.policy.agreement import observe, observe_all
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, PRESENT, Result

A, F, N, U = State.AFFECTED, State.FIXED, State.NOT_AFFECTED, State.UNKNOWN
CONFIRMED, CONTRADICTED, SETTLED, NOT_OBSERVED = (
    Agreement.CONFIRMED,
    Agreement.CONTRADICTED,
    Agreement.SETTLED,
    Agreement.NOT_OBSERVED,
)


def verdict(kernel: str, slug: str) -> Verdict:
    (found,) = audit(kernels=[kernel], arch="x86_64", only=[slug]).targets[0].verdicts
    return found


def observed(kernel: str, slug: str, predicted: State, result: Result) -> Verdict:
    before = verdict(kernel, slug)
    assert before.state is predicted
    after = observe(before, result, "in a guest")
    assert after.observation is not None
    assert after.observation.predicted is predicted
    return after


@pytest.mark.parametrize(
    ("kernel", "slug", "predicted", "result", "state", "agreement"),
    [
        ("6.1.170", "freplace-loop", A, Result(PRESENT, ""), A, CONFIRMED),
        ("6.1.170", "freplace-loop", A, Result(ABSENT, ""), F, CONTRADICTED),
        ("6.1.170", "freplace-loop", A, Result(ABSENT, "", False), A, NOT_OBSERVED),
        ("6.1.170", "freplace-loop", A, Result(COULD_NOT_RUN, ""), A, NOT_OBSERVED),
        ("6.12.117", "freplace-loop", F, Result(PRESENT, ""), A, CONTRADICTED),
        ("6.12.117", "freplace-loop", F, Result(ABSENT, ""), F, CONFIRMED),
        # That the loop can't be reached here does not prove the fix that was predicted.
        ("6.12.117", "freplace-loop", F, Result(ABSENT, "", False), F, NOT_OBSERVED),
        ("5.10.218", "freplace-loop", N, Result(PRESENT, ""), A, CONTRADICTED),
        ("5.10.218", "freplace-loop", N, Result(ABSENT, "", False), N, CONFIRMED),
        # An ABI number proves 6.1 and no update. 1c123c567fb1 came in 6.1.4: it is not known whether it came in or was fixed.
        ("6.1.0-99-amd64", "freplace-loop", U, Result(PRESENT, ""), A, SETTLED),
        ("6.1.0-99-amd64", "freplace-loop", U, Result(ABSENT, ""), N, SETTLED),
        ("6.1.0-99-amd64", "freplace-loop", U, Result(ABSENT, "", False), U, NOT_OBSERVED),
        # What pitfall 4 needs is in 6.1 itself, so its absence is a fix.
        ("6.1.0-99-amd64", "x86-hierarchy", U, Result(ABSENT, ""), F, SETTLED),
    ],
)
def test_what_is_seen_and_what_was_predicted(
    kernel: str, slug: str, predicted: State, result: Result, state: State, agreement: Agreement
) -> None:
    after = observed(kernel, slug, predicted, result)
    assert after.state is state
    assert after.observation is not None
    assert after.observation.agreement is agreement
    assert (after.rule in (Rule.SEEN_PRESENT, Rule.SEEN_ABSENT)) is (agreement in (CONTRADICTED, SETTLED))
    if agreement is CONTRADICTED:
        assert after.disagreements[-1].text.startswith(f"predicted {predicted.value} (")
    if after.state is not U:
        assert after.settle is None


LACKS = Result(ABSENT, "this architecture's JIT takes no tail calls in subprograms", False, "subprog-tailcalls")


@pytest.mark.parametrize(
    ("kernel", "slug", "predicted", "agreement"),
    [
        ("6.1.170", "tailcall-verifier-return-model", A, CONTRADICTED),
        ("6.1.0-99-amd64", "x86-hierarchy", U, SETTLED),
        ("7.3.4", "tailcall-verifier-return-model", F, CONFIRMED),
        ("6.1.170", "tailcall-direct-in-callback", N, CONFIRMED),
    ],
)
def test_what_the_architecture_was_seen_to_lack_makes_not_affected_and_never_fixed(
    kernel: str, slug: str, predicted: State, agreement: Agreement
) -> None:
    after = observed(kernel, slug, predicted, LACKS)
    assert after.state is N
    assert after.observation is not None
    assert after.observation.agreement is agreement
    if predicted is not N:
        assert after.rule is Rule.CAPABILITY_ABSENT
        assert after.brief == "no subprog-tailcalls"
        assert after.settle is None
    assert bool(after.disagreements) is (agreement is CONTRADICTED)


@pytest.mark.parametrize("kind", [EvidenceKind.CODE, EvidenceKind.SOURCE, EvidenceKind.RELEASE])
def test_what_is_not_seen_is_not_fixed_where_the_code_was_read_without_the_fix(kind: EvidenceKind) -> None:
    """As on a 6.1.192 without the fix of pitfall 2, whose verifier rounds stack depths: not to be seen, and not fixed."""
    before = verdict("6.1.170", "freplace-loop")
    read = Evidence(kind, "d6083f040d5d", Presence.ABSENT, "x")
    after = observe(before._replace(evidence=(read,)), Result(ABSENT, "34 entries"), "in a guest")
    assert after.state is (F if kind is EvidenceKind.RELEASE else N)
    assert after.brief.startswith("seen absent" if kind is EvidenceKind.RELEASE else "not reproduced")


def test_a_settled_unknown_is_never_of_high_confidence_by_an_absence() -> None:
    after = observe(verdict("6.1.0-99-amd64", "x86-hierarchy"), Result(ABSENT, ""), "on this host")
    assert after.confidence is Confidence.MEDIUM


def test_defects_of_another_architecture_are_not_touched(catalog: Catalog) -> None:
    target = audit(kernels=["6.1.170"], arch="arm64").targets[0]
    results = {defect.slug: Result(PRESENT, "") for defect in catalog.defects}
    after = observe_all(target, results, "on this host")
    touched = {item.defect.slug for item in after.verdicts if item.observation is not None}
    assert "x86-hierarchy" not in touched
    assert "freplace-loop" in touched


CODE = (EvidenceKind.EMULATION, EvidenceKind.SOURCE, EvidenceKind.CODE, EvidenceKind.BTF)


@pytest.mark.parametrize("kind", CODE)
def test_one_statement_of_code_among_others_keeps_an_absence_from_being_a_fix(kind: EvidenceKind) -> None:
    before = verdict("6.1.170", "freplace-loop")
    lacks = Evidence(kind, "d6083f040d5d", Presence.ABSENT, "x")
    others = (
        Evidence(EvidenceKind.RELEASE, "d6083f040d5d", Presence.ABSENT, "x"),
        Evidence(kind, "be8704ff07d2", Presence.PRESENT, "x"),
        Evidence(kind, "04fd61ab36ec", Presence.ABSENT, "x"),
    )
    seen = Result(ABSENT, "34 entries")
    assert observe(before._replace(evidence=(*others, lacks)), seen, "in a guest").state is N
    assert observe(before._replace(evidence=others), seen, "in a guest").state is F


def test_only_a_contradiction_names_the_prediction_in_the_table() -> None:
    contradicted = observe(verdict("6.1.170", "freplace-loop"), Result(ABSENT, ""), "in a guest")
    assert contradicted.brief == "seen absent; predicted affected"
    settled = observe(verdict("6.1.0-99-amd64", "x86-hierarchy"), Result(ABSENT, ""), "in a guest")
    assert settled.brief == "seen absent"
