"""The rules of the policy one by one, and properties over generated evidence.

The oracle is a truth table: an expression is evaluated by a few lines of this file for every way in which what is
unknown may turn out, not by the arithmetic under test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit import State, audit
from tailcall_audit.analyzer.catalog.expression import Expression, Operator, leaves
from tailcall_audit.analyzer.catalog.types import Defect
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, LivePatches, Presence, Rule
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.judge import judge_all
from tailcall_audit.analyzer.policy.verdict import judge
from tailcall_audit.analyzer.policy.weigh import weigh
from tests.policy.statements import ABSENT, CATALOG, HIGH, LOW, MEDIUM, PRESENT, UNKNOWN, say
from tests.policy.truth_table import completions, truth


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
