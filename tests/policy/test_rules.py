"""The rules of the policy one by one, and properties over generated evidence.

The oracle is a truth table: an expression is evaluated by a few lines of this file for every way in which what is
unknown may turn out, not by the arithmetic under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit import State, audit
from tailcall_audit.analyzer.catalog.commit import BranchFact
from tailcall_audit.analyzer.catalog.expression import Expression, Operator, leaves
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, LivePatches, Presence, Rule
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.judge import judge_all
from tailcall_audit.analyzer.policy.verdict import judge
from tailcall_audit.analyzer.policy.weigh import weigh
from tailcall_audit.analyzer.readers.release import release_evidence
from tailcall_audit.analyzer.readers.upstream_release import commit_in_release
from tailcall_audit.analyzer.version import parse_version
from tests.policy.truth_table import completions, truth

CATALOG = load_catalog()
PRESENT, ABSENT, UNKNOWN = Presence.PRESENT, Presence.ABSENT, Presence.UNKNOWN
HIGH, MEDIUM, LOW = Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW
KEY = "d6083f040d5d"

ORDER = (
    EvidenceKind.EMULATION,
    EvidenceKind.SOURCE,
    EvidenceKind.CODE,
    EvidenceKind.BTF,
    EvidenceKind.HISTORY,
    EvidenceKind.PATCH_QUEUE,
    EvidenceKind.CHANGELOG,
    EvidenceKind.SERIES,
    EvidenceKind.RELEASE,
    EvidenceKind.BUILD_DATE,
    EvidenceKind.CHANGELOG_SILENCE,
)
"""The order of docs/trees.md: what code does, how it looks, what its log says, what its version says."""


def say(
    kind: EvidenceKind, presence: Presence, confidence: Confidence = HIGH, key: str = KEY, **more: object
) -> Evidence:
    return Evidence(kind, key, presence, f"{kind.value} {presence.value}", "", confidence, **more)  # type: ignore[arg-type]


def judged(defect: Defect, presences: dict[str, Presence]) -> State:
    items = [say(EvidenceKind.HISTORY, presence, key=name) for name, presence in presences.items()]
    return judge(defect, Facts(items, "x86_64" if not defect.architectures else defect.architectures[0]), None).state


CASES = st.sampled_from(CATALOG.defects).flatmap(
    lambda defect: st.tuples(
        st.just(defect),
        st.dictionaries(st.sampled_from((*defect.commits, *defect.capabilities)), st.sampled_from(list(Presence))),
    )
)


@settings(max_examples=600, deadline=None)
@given(CASES)
def test_a_verdict_holds_however_what_is_unknown_turns_out(case: tuple[Defect, dict[str, Presence]]) -> None:
    defect, presences = case
    state = judged(defect, presences)
    ways = list(completions(defect, presences))
    reached = [truth(defect.reachable, way) for way in ways]
    fixed = [defect.fixed is not None and truth(defect.fixed, way) for way in ways]
    if state is State.FIXED:
        assert all(fixed)
    elif state is State.AFFECTED:
        assert all(reached)
        assert not any(fixed)
    elif state is State.NOT_AFFECTED:
        assert not any(reached)


@settings(max_examples=200, deadline=None)
@given(CASES)
def test_what_is_known_whole_is_decided(case: tuple[Defect, dict[str, Presence]]) -> None:
    defect, presences = case
    whole = {name: presences.get(name, UNKNOWN) for name in (*defect.commits, *defect.capabilities)}
    whole = {name: PRESENT if presence is PRESENT else ABSENT for name, presence in whole.items()}
    state = judged(defect, whole)
    if any(whole[name] is PRESENT for name in defect.unproven if defect.fixed and name in leaves(defect.fixed)):
        # A fix that was only read makes nothing fixed.
        assert state is not State.FIXED
    elif any(whole[name] is ABSENT for name in defect.unproven):
        # The part of such a commit in the defect was only read: its absence makes nothing safe.
        there = {name: presence is PRESENT or name in defect.unproven for name, presence in whole.items()}
        assert state is not State.NOT_AFFECTED or not truth(defect.reachable, there)
    else:
        assert state is not State.UNKNOWN


def _under_not(expression: Expression, inside: bool = False) -> Iterator[str]:
    if expression.operator is Operator.LEAF:
        if inside:
            yield expression.name
        return
    for part in expression.parts:
        yield from _under_not(part, inside or expression.operator is Operator.NOT)


SAFER = (State.NOT_AFFECTED, State.FIXED, State.UNKNOWN, State.AFFECTED)


@settings(max_examples=600, deadline=None)
@given(CASES, st.data())
def test_evidence_that_an_introducing_commit_is_there_makes_nothing_safer(
    case: tuple[Defect, dict[str, Presence]], data: st.DataObject
) -> None:
    defect, presences = case
    both = {*leaves(defect.fixed), *_under_not(defect.reachable)}
    introducing = sorted(set(defect.commits) - both)
    name = data.draw(st.sampled_from(introducing))
    before = judged(defect, presences)
    after = judged(defect, {**presences, name: PRESENT})
    assert SAFER.index(after) >= SAFER.index(before)


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


def _with(defect: Defect, confidences: dict[str, Confidence], fixed: Presence) -> Confidence:
    assert defect.fixed is not None
    fixes = set(leaves(defect.fixed))
    items = [
        say(EvidenceKind.HISTORY, fixed if name in fixes else PRESENT, confidences.get(name, HIGH), name)
        for name in defect.commits
    ]
    return judge(defect, Facts(items, "x86_64"), "x86_64").confidence


@pytest.mark.parametrize("level", list(Confidence))
def test_a_verdict_is_as_sure_as_the_least_that_it_needs(level: Confidence) -> None:
    (defect,) = CATALOG.find("x86-hierarchy")
    for name in leaves(defect.reachable):
        assert _with(defect, {name: level}, ABSENT) is level
        assert _with(defect, {name: level}, PRESENT) is HIGH  # a fix is one wherever the defect came in
    assert _with(defect, {"116e04ba1459": level}, ABSENT) is level
    assert _with(defect, {"116e04ba1459": level}, PRESENT) is level


def test_any_of_several_fixes_counts_by_the_surest() -> None:
    (defect,) = CATALOG.find("resolve-prog-type-null-deref-load")
    assert _with(defect, {"f7866c358733": LOW, "fdad456cbcca": MEDIUM}, PRESENT) is MEDIUM
    assert _with(defect, {"f7866c358733": LOW, "fdad456cbcca": MEDIUM}, ABSENT) is LOW


@pytest.mark.parametrize("kind", [EvidenceKind.CODE, EvidenceKind.BTF])
def test_a_binary_that_shows_a_part_is_as_sure_as_who_agrees_with_it(kind: EvidenceKind) -> None:
    alone = weigh([say(kind, PRESENT, MEDIUM)])
    agreed = weigh([say(kind, PRESENT, MEDIUM), say(EvidenceKind.RELEASE, PRESENT, HIGH)])
    denied = weigh([say(kind, PRESENT, MEDIUM), say(EvidenceKind.RELEASE, ABSENT, HIGH)])
    assert (alone.confidence, agreed.confidence, denied.confidence) == (MEDIUM, HIGH, MEDIUM)


def test_without_an_architecture_no_defect_is_left_out() -> None:
    report = audit(kernels=["6.1.170"]).targets[0]
    assert {item.defect.slug for item in report.verdicts} == {defect.slug for defect in CATALOG.defects}


def _release(version: str, *facts: BranchFact, key: str = KEY) -> Evidence:
    commit = CATALOG.commits[key]._replace(branches={fact.branch: fact for fact in facts})
    return commit_in_release(CATALOG, commit, parse_version(version))


def _fact(**more: object) -> BranchFact:
    fields = {
        "branch": "6.1",
        "backported": True,
        "release": None,
        "present_by": None,
        "surveyed_through": None,
        "id": None,
        "source": "a test",
        "unverified": None,
        **more,
    }
    return BranchFact(**fields)  # type: ignore[arg-type]


def test_a_release_by_which_a_commit_was_there_leaves_the_ones_before_open() -> None:
    fact = _fact(present_by=parse_version("6.1.50"))
    assert [_release(version, fact).presence for version in ("6.1.49", "6.1.50", "6.1.51")] == [
        UNKNOWN,
        PRESENT,
        PRESENT,
    ]
    assert _release("6.1", fact).presence is ABSENT


def test_a_release_that_is_known_to_lack_a_commit_lacks_it_whenever_it_came_later() -> None:
    fact = _fact(present_by=parse_version("6.1.50"), surveyed_through=parse_version("6.1.40"))
    assert [_release(version, fact).presence for version in ("6.1.40", "6.1.41", "6.1.50")] == [
        ABSENT,
        UNKNOWN,
        PRESENT,
    ]


def test_a_survey_proves_absence_up_to_its_last_release() -> None:
    fact = _fact(backported=False, surveyed_through=parse_version("6.1.50"))
    assert [_release(version, fact).presence for version in ("6.1.49", "6.1.50", "6.1.51")] == [ABSENT, ABSENT, UNKNOWN]


def test_a_branch_that_ended_before_a_fix_existed_is_without_it() -> None:
    assert _release("6.8.12").presence is ABSENT  # ended in May 2024; the fix came in the merge window of 6.13
    assert _release("6.8.13").presence is UNKNOWN  # no release of kernel.org
    assert _release("6.12.30").presence is UNKNOWN  # lives on


@pytest.mark.parametrize(
    ("kernel", "expected"), [("6.1.0-47-amd64", ABSENT), ("5.14.0-427.13.1.el9_4.x86_64", UNKNOWN)]
)
def test_a_feature_of_a_later_release_is_not_in_a_distribution_that_follows_stable(
    kernel: str, expected: Presence
) -> None:
    verdict = next(
        item
        for item in audit(kernels=[kernel], arch="x86_64").targets[0].verdicts
        if item.defect.slug == "tailcall-locks-rcu-preempt"
    )
    release = [item for item in verdict.evidence if item.kind is EvidenceKind.RELEASE and item.commit == "fc7566ad0a82"]
    assert [item.presence for item in release] == [expected]


def test_a_guessed_release_makes_no_verdict_safe() -> None:
    (defect,) = CATALOG.find("x86-hierarchy")

    def state(fix: Presence, intro: Presence, guessed: str) -> State:
        items = [
            say(EvidenceKind.RELEASE, fix if name == "116e04ba1459" else intro, key=name, guessed=name == guessed)
            for name in defect.commits
        ]
        return judge(defect, Facts(items, "x86_64"), "x86_64").state

    assert state(PRESENT, PRESENT, "") is State.FIXED
    assert state(PRESENT, PRESENT, "116e04ba1459") is State.UNKNOWN
    assert state(ABSENT, PRESENT, "116e04ba1459") is State.AFFECTED
    assert state(ABSENT, ABSENT, "") is State.NOT_AFFECTED


def test_an_absence_that_was_guessed_does_not_exclude() -> None:
    (defect,) = CATALOG.find("freplace-loop")
    items = [
        say(EvidenceKind.RELEASE, ABSENT if name == "be8704ff07d2" else PRESENT, key=name, guessed=True)
        for name in (*defect.commits, *defect.capabilities)
        if name != KEY
    ]
    items.append(say(EvidenceKind.RELEASE, ABSENT))
    assert judge(defect, Facts(items, "x86_64"), "x86_64").state is State.UNKNOWN
    fact = _fact(backported=False, surveyed_through=parse_version("6.1.50"), unverified="not looked at")
    assert _release("6.1.40", fact).guessed


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


def test_a_statement_that_rests_on_no_evidence_deserves_no_trust() -> None:
    assert weigh([]).confidence is LOW
    assert weigh([say(EvidenceKind.CODE, UNKNOWN)]).confidence is LOW
    assert weigh([say(EvidenceKind.RELEASE, UNKNOWN, HIGH)]).confidence is LOW


def test_what_is_there_on_a_condition_names_the_command_that_settles() -> None:
    picked = say(EvidenceKind.HISTORY, PRESENT, conditional=True, settle="look at the code")
    other = say(EvidenceKind.SOURCE, UNKNOWN, unreadable=True, settle="find the source")
    found = weigh([other, picked])
    assert (found.presence, found.decisive) == (UNKNOWN, picked)


def _all_present(defect: Defect, fix: Presence) -> list[Evidence]:
    fixes = set(leaves(defect.fixed)) if defect.fixed is not None else set()
    names = (*defect.commits, *defect.capabilities)
    return [say(EvidenceKind.HISTORY, fix if name in fixes else PRESENT, key=name) for name in names]


@pytest.mark.parametrize("fix", [PRESENT, ABSENT])
def test_a_live_patch_leaves_neither_fixed_nor_affected_certain(fix: Presence) -> None:
    (defect,) = CATALOG.find("x86-hierarchy")
    items = _all_present(defect, fix)
    assert judge(defect, Facts(items, "x86_64"), "x86_64").confidence is HIGH
    assert judge(defect, Facts(items, "x86_64", live_patches=LivePatches.LOADED), "x86_64").confidence is MEDIUM


def test_an_architecture_that_is_not_known_is_no_other_architecture() -> None:
    (defect,) = CATALOG.find("x86-hierarchy")
    other = judge(defect, Facts([], "arm64"), "arm64")
    assert (other.state, other.rule, other.confidence) == (State.NOT_AFFECTED, Rule.OTHER_ARCHITECTURE, HIGH)
    assert judge(defect, Facts([]), None).rule is not Rule.OTHER_ARCHITECTURE


def test_an_unknown_capability_is_asked_for_before_an_unknown_commit() -> None:
    (defect,) = CATALOG.find("freplace-loop")
    open_ones = judge(defect, Facts([], "x86_64"), "x86_64")
    assert (open_ones.rule, open_ones.brief) == (Rule.INTRODUCTION_UNKNOWN, "freplace-attach?")
    items = [say(EvidenceKind.HISTORY, PRESENT, key=name) for name in defect.capabilities]
    assert judge(defect, Facts(items, "x86_64"), "x86_64").brief == "04fd61ab36ec?"


def test_architectures_with_one_answer_share_a_line_of_the_lowest_confidence() -> None:
    (defect,) = CATALOG.find("freplace-loop")
    items = [item for item in _all_present(defect, ABSENT) if item.commit not in defect.capabilities]
    for name in defect.capabilities:
        for architecture, confidence in (("x86_64", HIGH), ("arm64", LOW)):
            items.append(say(EvidenceKind.RELEASE, PRESENT, confidence, name, architecture=architecture))
    lines = judge_all(CATALOG, Facts(items), [defect])
    (affected,) = [line for line in lines if line.state is State.AFFECTED]
    assert affected.architectures == ("x86_64", "arm64")
    assert affected.confidence is LOW


def test_defects_of_all_architectures_are_judged_without_one_too() -> None:
    """Each defect of the catalogue has a verdict, whether or not the architecture is known."""
    for facts in (Facts([]), Facts([], "x86_64")):
        judged_slugs = [verdict.defect.slug for verdict in judge_all(CATALOG, facts, CATALOG.defects)]
        assert set(judged_slugs) == {defect.slug for defect in CATALOG.defects}


def test_a_branch_that_ended_after_a_fix_existed_may_have_it() -> None:
    """6.11.y ended in December 2024, weeks after the merge window of 6.13 in which the fix came."""
    not_surveyed = CATALOG.commits[KEY]._replace(branches={})
    assert commit_in_release(CATALOG, not_surveyed, parse_version("6.11.5")).presence is UNKNOWN
    assert commit_in_release(CATALOG, not_surveyed, parse_version("6.8.5")).presence is ABSENT


FEATURE = "0f0c332992b8"
"""Linux kernel commit 0f0c332992b8 ("bpf: Allow sleepable programs to use tail calls") (in v7.0)."""


@pytest.mark.parametrize(
    ("kernel", "expected", "confidence"),
    [
        ("6.1.0-99-amd64", ABSENT, LOW),  # Debian follows the stable branch, and its ABI number proves 6.1 alone
        ("6.8.0-35-generic", ABSENT, LOW),  # Ubuntu does, too
        ("6.1.170+", UNKNOWN, LOW),  # what its builder put on top is not known
        ("5.14.0-427.13.1.el9_4.x86_64", UNKNOWN, LOW),  # Red Hat backports features
        ("6.1.170", ABSENT, MEDIUM),  # stable branches take no features
        ("7.0", PRESENT, HIGH),
    ],
)
def test_a_feature_that_is_ahead_of_the_base(kernel: str, expected: Presence, confidence: Confidence) -> None:
    (found,) = [item for item in release_evidence(CATALOG, parse_release(kernel)) if item.commit == FEATURE]
    assert found.presence is expected
    assert found.presence is UNKNOWN or found.confidence is confidence
