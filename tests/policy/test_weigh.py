"""What the statements about one commit come to: rank, agreement, contest."""

from __future__ import annotations

import itertools

import pytest

from tailcall_audit import State
from tailcall_audit.analyzer.model import EvidenceKind, Presence
from tailcall_audit.analyzer.policy.facts import Facts, _Memory
from tailcall_audit.analyzer.policy.verdict import judge
from tailcall_audit.analyzer.policy.weigh import weigh
from tests.policy.statements import ABSENT, CATALOG, HIGH, KEY, LOW, MEDIUM, ORDER, PRESENT, UNKNOWN, say


@pytest.mark.parametrize(("upper", "lower"), list(itertools.combinations(ORDER, 2)))
def test_each_kind_outranks_the_next_and_shows_it(upper: EvidenceKind, lower: EvidenceKind) -> None:
    for said, other in ((PRESENT, ABSENT), (ABSENT, PRESENT)):
        for items in ([say(upper, said), say(lower, other)], [say(lower, other), say(upper, said)]):
            found = weigh(items)
            assert found.presence is said
            assert len(found.disagreements) == 1
            assert lower.value in found.disagreements[0]


def test_no_evidence_is_unknown_and_not_absent() -> None:
    assert weigh([]).presence is UNKNOWN
    for defect in CATALOG.defects:
        architecture = defect.architectures[0] if defect.architectures else "x86_64"
        verdict = judge(defect, Facts([], architecture), architecture)
        assert verdict.state is State.UNKNOWN
        assert verdict.settle


@pytest.mark.parametrize("kind", ORDER)
def test_two_statements_of_one_kind_that_disagree_decide_nothing(kind: EvidenceKind) -> None:
    for first, second in ((PRESENT, ABSENT), (ABSENT, PRESENT)):
        found = weigh([say(kind, first), say(kind, second), say(EvidenceKind.CHANGELOG_SILENCE, second)])
        if kind is EvidenceKind.CHANGELOG_SILENCE:
            found = weigh([say(kind, first), say(kind, second)])
        assert found.presence is UNKNOWN
        text = " ".join(found.disagreements)
        assert "says present" in text
        assert "says absent" in text


def test_two_statements_of_one_kind_that_agree_count_by_the_surer() -> None:
    items = [say(EvidenceKind.SERIES, PRESENT, LOW), say(EvidenceKind.SERIES, PRESENT, MEDIUM)]
    assert weigh(items).confidence is MEDIUM
    assert weigh(items[::-1]).confidence is MEDIUM
    resolved = say(EvidenceKind.HISTORY, PRESENT, HIGH, conditional=True)
    plain = say(EvidenceKind.HISTORY, PRESENT, MEDIUM)
    assert weigh([resolved, plain]).presence is PRESENT
    assert weigh([resolved, plain]).confidence is MEDIUM


def test_what_could_not_be_read_does_not_contest_what_was() -> None:
    waiting = say(EvidenceKind.PATCH_QUEUE, UNKNOWN, unreadable=True)
    assert weigh([waiting, say(EvidenceKind.PATCH_QUEUE, PRESENT)]).presence is PRESENT


CONTESTED = (
    EvidenceKind.SOURCE,
    EvidenceKind.CODE,
    EvidenceKind.HISTORY,
    EvidenceKind.PATCH_QUEUE,
    EvidenceKind.CHANGELOG,
    EvidenceKind.SERIES,
)


@pytest.mark.parametrize("kind", ORDER)
def test_what_was_read_and_not_understood_contests_another_statement_of_its_kind(kind: EvidenceKind) -> None:
    found = weigh([say(kind, PRESENT), say(kind, UNKNOWN)])
    assert found.presence is (UNKNOWN if kind in CONTESTED else PRESENT)


@pytest.mark.parametrize("kind", [EvidenceKind.BTF, EvidenceKind.RELEASE, EvidenceKind.BUILD_DATE])
@pytest.mark.parametrize("presence", [PRESENT, ABSENT])
def test_types_a_release_and_a_date_without_an_answer_leave_it_to_others(
    kind: EvidenceKind, presence: Presence
) -> None:
    """They are no functions that were run and misbehave: what lower ranks say of the kernel holds."""
    for lower in ORDER[ORDER.index(kind) + 1 :]:
        assert weigh([say(kind, UNKNOWN), say(lower, presence)], presence).presence is presence


def test_decisions_are_remembered_for_one_catalogue() -> None:
    memory = _Memory()
    known = memory.of(CATALOG)
    assert memory.of(CATALOG) is known
    other = CATALOG._replace(path="made")
    assert memory.of(other) is not known
    assert memory.of(CATALOG) is not known


def test_a_defect_of_the_same_name_from_another_catalogue_is_decided_for_itself() -> None:
    (loop,), (extension,) = CATALOG.find("freplace-loop"), CATALOG.find("freplace-tailcallee")
    renamed = extension._replace(slug=loop.slug)
    evidence = [say(EvidenceKind.RELEASE, PRESENT, key=key) for key in extension.commits]
    facts = Facts([*evidence, say(EvidenceKind.RELEASE, ABSENT, key=KEY)], "x86_64")
    alone = judge(extension, Facts(evidence, "x86_64"), "x86_64").state
    judge(loop, facts, "x86_64")
    assert judge(renamed, facts, "x86_64").state is alone
    assert facts.marks_for(renamed) != facts.marks_for(loop)


def test_a_statement_that_rests_on_no_evidence_deserves_no_trust() -> None:
    assert weigh([]).confidence is LOW
    assert weigh([say(EvidenceKind.CODE, UNKNOWN)]).confidence is LOW
    assert weigh([say(EvidenceKind.RELEASE, UNKNOWN, HIGH)]).confidence is LOW
    assert weigh([say(EvidenceKind.BTF, UNKNOWN, HIGH), say(EvidenceKind.RELEASE, UNKNOWN, HIGH)]).confidence is LOW


def test_what_is_there_on_a_condition_names_the_command_that_settles() -> None:
    picked = say(EvidenceKind.HISTORY, PRESENT, conditional=True, settle="look at the code")
    other = say(EvidenceKind.SOURCE, UNKNOWN, unreadable=True, settle="find the source")
    found = weigh([other, picked])
    assert (found.presence, found.decisive) == (UNKNOWN, picked)
