"""Tests of a survey against the catalogue: what is new, what reaches further, what contradicts and is left out."""

from __future__ import annotations

import pytest

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.upstream_release import commit_in_release
from tailcall_audit.analyzer.survey.compare import News, compare, with_surveys
from tailcall_audit.analyzer.survey.types import Claim, Kind, State, Survey
from tailcall_audit.analyzer.version import parse_version

_FIX_6 = "d6083f040d5d"


def _survey(*claims: Claim, kind: Kind = Kind.STABLE, reach: str = "6.6.158") -> Survey:
    return Survey(kind, kind.value, "linux", "2026-11-25", {"6.6": reach}, claims)


def _claim(state: State, release: str, branch: str = "6.6", commit: str = _FIX_6) -> Claim:
    return Claim(commit, state, release, f"GIT linux v{release}", branch=branch)


# The catalogue has d6083f040d5d from 6.12.5 and from 6.1.191 on, and absent from 6.6.y through 6.6.145.
@pytest.mark.parametrize(
    ("claim", "news"),
    [
        (_claim(State.PRESENT_FROM, "6.12.5", "6.12"), News.SAME),
        (_claim(State.PRESENT_FROM, "6.12.6", "6.12"), News.CONTRADICTION),
        (_claim(State.ABSENT_THROUGH, "6.12.5", "6.12"), News.CONTRADICTION),
        (_claim(State.ABSENT_THROUGH, "6.12.4", "6.12"), News.SAME),
        (_claim(State.REVERTED_IN, "6.12.9", "6.12"), News.CONTRADICTION),
        (_claim(State.ABSENT_THROUGH, "6.6.158"), News.LATER),
        (_claim(State.ABSENT_THROUGH, "6.6.100"), News.SAME),
        (_claim(State.PRESENT_FROM, "6.6.150"), News.LATER),
        (_claim(State.PRESENT_FROM, "6.6.140"), News.CONTRADICTION),
        # The last release that is known to lack it, and the next one.
        (_claim(State.PRESENT_FROM, "6.6.145"), News.CONTRADICTION),
        (_claim(State.PRESENT_FROM, "6.6.146"), News.LATER),
        (_claim(State.PRESENT_BY, "6.6.145"), News.CONTRADICTION),
        (_claim(State.PRESENT_BY, "6.6.146"), News.LATER),
        (_claim(State.ABSENT_THROUGH, "6.6.145"), News.SAME),
        (_claim(State.ABSENT_THROUGH, "6.6.146"), News.LATER),
        (_claim(State.PRESENT_BY, "6.12.4", "6.12"), News.CONTRADICTION),
        (_claim(State.PRESENT_BY, "6.12.5", "6.12"), News.SAME),
        (_claim(State.PRESENT_BY, "6.12.6", "6.12"), News.SAME),
        (_claim(State.ABSENT_THROUGH, "6.17.13", "6.17", "2b5dcb31a19a"), News.NEW),
        (_claim(State.PRESENT_FROM, "6.13-rc1", "mainline"), News.SAME),
        (_claim(State.PRESENT_FROM, "6.14-rc1", "mainline"), News.CONTRADICTION),
    ],
)
def test_a_claim_is_held_against_the_catalogue(catalog: Catalog, claim: Claim, news: News) -> None:
    assert [item.news for item in compare(_survey(claim), catalog)] == [news]


def test_a_release_candidate_is_more_exact_than_its_release(catalog: Catalog) -> None:
    # 1a4607ffba35 is known to be in 6.13, from which candidate on is not.
    claim = _claim(State.PRESENT_FROM, "6.13-rc2", "mainline", "1a4607ffba35")
    assert [item.news for item in compare(_survey(claim), catalog)] == [News.NEW]
    other = _claim(State.PRESENT_FROM, "6.14-rc2", "mainline", "1a4607ffba35")
    assert [item.news for item in compare(_survey(other), catalog)] == [News.CONTRADICTION]


def test_mainline_is_no_stable_branch_and_what_is_no_release_costs_no_other_claim(catalog: Catalog) -> None:
    mainline = _claim(State.PRESENT_FROM, "6.13-rc2", "mainline", "1a4607ffba35")
    assert with_surveys(catalog, [_survey(mainline)]) == catalog
    claims = (_claim(State.ABSENT_THROUGH, "next-20261126"), _claim(State.ABSENT_THROUGH, "6.6.158"))
    assert [(item.claim.release, item.news) for item in compare(_survey(*claims), catalog)] == [("6.6.158", News.LATER)]


def test_what_reaches_further_is_used(catalog: Catalog) -> None:
    fact = with_surveys(catalog, [_survey(_claim(State.ABSENT_THROUGH, "6.6.158"))]).commits[_FIX_6].branches["6.6"]
    assert (fact.surveyed_through, fact.backported) == (parse_version("6.6.158"), False)
    assert fact.survey == "stable"


@pytest.mark.parametrize(
    ("claim", "news"),
    [
        (_claim(State.PRESENT_FROM, "6.6.150"), News.NEW),
        (_claim(State.PRESENT_FROM, "6.6.151"), News.CONTRADICTION),
        (_claim(State.PRESENT_BY, "6.6.149"), News.NEW),
        (_claim(State.PRESENT_BY, "6.6.150"), News.SAME),
        (_claim(State.PRESENT_BY, "6.6.145"), News.CONTRADICTION),
        (_claim(State.ABSENT_THROUGH, "6.6.149"), News.SAME),
        (_claim(State.ABSENT_THROUGH, "6.6.150"), News.CONTRADICTION),
        (_claim(State.REVERTED_IN, "6.6.160"), News.CONTRADICTION),
    ],
)
def test_a_claim_is_held_against_a_release_by_which_it_was_there(catalog: Catalog, claim: Claim, news: News) -> None:
    known = with_surveys(catalog, [_survey(_claim(State.PRESENT_BY, "6.6.150"))])
    assert [item.news for item in compare(_survey(claim), known)] == [news]


def test_a_backport_is_in_its_release_and_in_none_before(catalog: Catalog) -> None:
    known = with_surveys(catalog, [_survey(_claim(State.PRESENT_FROM, "6.6.150"))])
    found = {
        release: commit_in_release(known, known.commits[_FIX_6], parse_version(release)).presence
        for release in ("6.6.149", "6.6.150", "6.6.200")
    }
    assert found == {"6.6.149": Presence.ABSENT, "6.6.150": Presence.PRESENT, "6.6.200": Presence.PRESENT}


def test_a_contradiction_is_left_out(catalog: Catalog) -> None:
    claims = (_claim(State.PRESENT_FROM, "6.6.140"), _claim(State.REVERTED_IN, "6.6.150"))
    assert with_surveys(catalog, [_survey(*claims)]) == catalog


@pytest.mark.parametrize("state", [State.PRESENT_FROM, State.PRESENT_BY])
def test_a_release_that_is_known_to_lack_a_commit_does_not_get_it(catalog: Catalog, state: State) -> None:
    # The catalogue has it absent through 6.6.145; the first survey has it by 6.6.150.
    known = with_surveys(catalog, [_survey(_claim(State.PRESENT_BY, "6.6.150"))])
    assert known.commits[_FIX_6].branches["6.6"].surveyed_through is not None
    assert [item.news for item in compare(_survey(_claim(state, "6.6.140")), known)] == [News.CONTRADICTION]
    assert [item.news for item in compare(_survey(_claim(state, "6.6.148")), known)] == [News.NEW]


def test_a_weaker_survey_does_not_overrule_a_stronger_one(catalog: Catalog) -> None:
    stable = _survey(_claim(State.ABSENT_THROUGH, "6.6.158"))
    vulns = _survey(_claim(State.PRESENT_FROM, "6.6.150"), kind=Kind.VULNS)
    for order in ([stable, vulns], [vulns, stable]):
        fact = with_surveys(catalog, order).commits[_FIX_6].branches["6.6"]
        assert fact.survey == "stable"
        assert fact.surveyed_through == parse_version("6.6.158")


def test_a_revert_keeps_every_change(catalog: Catalog) -> None:
    claims = (
        _claim(State.PRESENT_FROM, "6.6.150"),
        _claim(State.REVERTED_IN, "6.6.152"),
        _claim(State.PRESENT_FROM, "6.6.155"),
    )
    fact = with_surveys(catalog, [_survey(*claims)]).commits[_FIX_6].branches["6.6"]
    assert fact.changes == (
        (parse_version("6.6.150"), True),
        (parse_version("6.6.152"), False),
        (parse_version("6.6.155"), True),
    )


def test_a_commit_that_the_catalogue_does_not_have_is_left_out(catalog: Catalog) -> None:
    unknown, known = _claim(State.PRESENT_FROM, "6.6.1", commit="0" * 12), _claim(State.ABSENT_THROUGH, "6.6.158")
    assert compare(_survey(unknown), catalog) == ()
    assert [item.claim for item in compare(_survey(unknown, known), catalog)] == [known]
