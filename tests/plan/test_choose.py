"""Which commits, and in which order: properties of the choice over any state of a tree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailcall_audit.analyzer.catalog.commit import Relation
from tailcall_audit.analyzer.catalog.expression import PRESENT, Interval, evaluate, leaves
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Evidence, EvidenceKind, Presence, State, Verdict
from tailcall_audit.analyzer.plan.choose import Choice, choose
from tailcall_audit.analyzer.plan.locate import nearest
from tailcall_audit.analyzer.plan.order import in_order
from tailcall_audit.analyzer.plan.types import MAINLINE, Role
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.judge import judge_all
from tailcall_audit.analyzer.version import parse_version

CATALOG = load_catalog()
FIXING = sorted({name for defect in CATALOG.defects for name in leaves(defect.fixed) if name in CATALOG.commits})
BASE = "6.1"


def facts(missing: set[str], architecture: str = "x86_64") -> Facts:
    """A tree that has every commit and capability but these."""
    names = [*CATALOG.commits, *CATALOG.capabilities]
    return Facts(
        [
            Evidence(EvidenceKind.SOURCE, name, Presence.ABSENT if name in missing else Presence.PRESENT, "test")
            for name in names
        ],
        architecture,
    )


def chosen(missing: set[str], catalog: Catalog = CATALOG) -> tuple[Choice, tuple[Verdict, ...], Facts]:
    found = facts(missing)
    verdicts = judge_all(catalog, found, catalog.defects)
    planned = [verdict for verdict in verdicts if verdict.state is State.AFFECTED]
    return choose(catalog, found, verdicts, planned, BASE), verdicts, found


def afterwards(picks: set[str], missing: set[str]) -> dict[str, State]:
    return {
        verdict.defect.slug: verdict.state for verdict in judge_all(CATALOG, facts(missing - picks), CATALOG.defects)
    }


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(FIXING), min_size=1, max_size=12))
def test_the_picks_mend_all_that_can_be_mended_and_none_is_needless(missing: set[str]) -> None:
    choice, verdicts, _ = chosen(missing)
    picks = set(choice.picks)
    assert picks <= missing
    states = afterwards(picks, missing)
    affected = {verdict.defect.slug for verdict in verdicts if verdict.state is State.AFFECTED}
    brought = {slug for slug, state in states.items() if state is State.AFFECTED}
    assert brought <= set(choice.without_fix) | {slug for slug in brought if slug not in affected and _unmendable(slug)}
    related = {
        entry.commit for key in picks for entry in (*CATALOG.commits[key].needs, *CATALOG.commits[key].follow_ups)
    }
    for key in picks - related:
        # Without it, something that it is for is affected again; where another pick would do, it would have been left out.
        without = afterwards(picks - {key}, missing)
        assert any(without[slug] is State.AFFECTED for slug in choice.picks[key].defects)


def _unmendable(slug: str) -> bool:
    (defect,) = CATALOG.find(slug)
    return defect.fixed is None or all(CATALOG.commits[name].only_on_branch for name in leaves(defect.fixed))


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(FIXING), min_size=2, max_size=20), st.randoms())
def test_what_is_needed_comes_first_whatever_the_times_are(missing: set[str], random: st.DataObject) -> None:
    choice, _, _ = chosen(missing)
    times = {key: random.randint(0, 1000) for key in choice.picks}  # type: ignore[attr-defined]
    order = in_order(CATALOG, choice.picks, times)
    assert sorted(order) == sorted(choice.picks)
    for key in order:
        for entry in CATALOG.commits[key].needs:
            if entry.commit in choice.picks:
                assert order.index(entry.commit) < order.index(key)
        for entry in CATALOG.commits[key].follow_ups:
            if entry.commit in choice.picks:
                assert order.index(entry.commit) > order.index(key)


def test_the_order_is_mainline_s_by_release_then_by_time() -> None:
    choice, _, _ = chosen({"2b5dcb31a19a", "d6083f040d5d", "46f7ed32f7a8", "1c123c567fb1", "c04992612ed4"})
    assert {"d6083f040d5d", "46f7ed32f7a8"} <= choice.picks.keys()  # both 6.13-rc1
    order = in_order(CATALOG, choice.picks, {"d6083f040d5d": 2, "46f7ed32f7a8": 1})
    assert order.index("46f7ed32f7a8") < order.index("d6083f040d5d")
    order = in_order(CATALOG, choice.picks, {"d6083f040d5d": 1, "46f7ed32f7a8": 2})
    assert order.index("d6083f040d5d") < order.index("46f7ed32f7a8")
    assert order[0] == "1c123c567fb1"


def test_of_two_fixes_the_one_that_serves_both_defects_is_taken() -> None:
    """freplace-attached-panic has two fixes; fdad456cbcca needs f7866c358733, and mends freplace-attached-refused too."""
    choice, _, _ = chosen({"f7866c358733", "fdad456cbcca"})
    assert set(choice.picks) == {"f7866c358733", "fdad456cbcca"}
    assert choice.picks["f7866c358733"].needed_by == ("fdad456cbcca",)


def test_a_backport_of_another_branch_s_own_kind_is_not_chosen() -> None:
    """c04992612ed4 is 5.15's form and fixes tailcall-compat-attach-func-proto there only."""
    choice, _, _ = chosen({"28ead3eaabc1", "c04992612ed4"})
    assert "c04992612ed4" not in choice.picks
    assert "28ead3eaabc1" in choice.picks


def test_a_defect_without_a_fix_is_left_open() -> None:
    found = facts(set())
    verdicts = judge_all(CATALOG, found, CATALOG.defects)
    planned = [verdict for verdict in verdicts if verdict.defect.slug == "tracing-dst-prog-type-confusion"]
    choice = choose(CATALOG, found, verdicts, planned, "5.15")
    assert (dict(choice.picks), choice.without_fix) == ({}, ("tracing-dst-prog-type-confusion",))


def test_what_mends_a_fix_comes_along_though_no_expression_says_so() -> None:
    choice, _, _ = chosen({"1a4607ffba35", "e3245f899043"})
    assert choice.picks["e3245f899043"].follows == ("1a4607ffba35",)


def test_a_prerequisite_of_no_defect_is_one() -> None:
    extra = CATALOG.commits["d6083f040d5d"]._replace(needs=(Relation("46f7ed32f7a8", "why", "TEST"),))
    catalog = CATALOG._replace(commits={**CATALOG.commits, "d6083f040d5d": extra})
    found = facts({"d6083f040d5d", "46f7ed32f7a8"})
    verdicts = judge_all(catalog, found, catalog.defects)
    planned = [verdict for verdict in verdicts if verdict.defect.slug == "freplace-loop"]
    choice = choose(catalog, found, verdicts, planned, BASE)
    assert choice.picks["46f7ed32f7a8"].role is Role.PREREQUISITE
    assert choice.picks["46f7ed32f7a8"].needed_by == ("d6083f040d5d",)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("6.1.170", ["6.1", "6.6", "5.15", "6.12", "5.10", MAINLINE]),
        ("6.12.1", ["6.12", "6.6", "6.1", "5.15", "5.10", MAINLINE]),
        ("6.13-rc3", [MAINLINE, "6.12", "6.6", "6.1", "5.15", "5.10"]),
        (None, [MAINLINE]),
    ],
)
def test_the_own_branch_is_the_nearest_and_mainline_the_last(version: str | None, expected: list[str]) -> None:
    rank = nearest(CATALOG, None if version is None else parse_version(version))
    sources = expected if version is None else [MAINLINE, "5.10", "5.15", "6.1", "6.6", "6.12"]
    assert sorted(sources, key=rank) == expected


def test_the_expressions_are_evaluated_with_the_picks_there() -> None:
    choice, _, found = chosen({"10627ddc0167", "01793ed86b5d"})
    (defect,) = CATALOG.find("tailcall-cgroup-storage-bridge")
    assert defect.fixed is not None

    def value(name: str) -> Interval:
        return PRESENT if name in choice.picks else Interval(0, 0)

    assert evaluate(defect.fixed, value).met
    assert found.architecture == "x86_64"
