"""What the reader of a changelog's survey is shown: what is new, what ends later, what contradicts what is known."""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact
from tailcall_audit.analyzer.formats.survey import has_conflicts, render_survey, survey_as_json
from tailcall_audit.analyzer.survey.compare import News
from tailcall_audit.analyzer.survey.compare_series import compare_series
from tailcall_audit.analyzer.survey.types import Claim, Kind, State, Survey

_FIX = "2b5dcb31a19a"
_SERIES = "rhel/5.14/el9"


def _survey(state: State, build: str) -> Survey:
    claims = (Claim(_FIX, state, build, "made for this test", series=_SERIES),)
    return Survey(Kind.PACKAGES, "made", "a changelog", "2026-11-26", {_SERIES: build}, claims)


def _known(catalog: Catalog, present: bool, build: str, *, exact: bool = False) -> Catalog:
    fact = SeriesFact("rhel", "el9", "5.14", _FIX, present, build, exact, "made for this test", None)
    return catalog._replace(series=(fact,), path="made")


def _news(catalog: Catalog, state: State, build: str) -> News:
    (found,) = compare_series(_survey(state, build), catalog)
    return found.news


def test_what_is_in_no_survey_is_new(catalog: Catalog) -> None:
    empty = catalog._replace(series=(), path="made")
    assert {_news(empty, state, "5.14.0-427.el9") for state in State} == {News.NEW}


def test_a_fix_in_a_later_build_reaches_further_than_an_absence(catalog: Catalog) -> None:
    known = _known(catalog, False, "5.14.0-284.el9")
    assert _news(known, State.PRESENT_FROM, "5.14.0-427.el9") is News.LATER
    assert _news(known, State.ABSENT_THROUGH, "5.14.0-362.el9") is News.LATER
    assert _news(known, State.ABSENT_THROUGH, "5.14.0-200.el9") is News.SAME
    assert _news(known, State.PRESENT_FROM, "5.14.0-200.el9") is News.CONTRADICTION


def test_a_build_that_is_known_alone_limits_no_other(catalog: Catalog) -> None:
    known = _known(catalog, False, "5.14.0-284.el9", exact=True)
    assert _news(known, State.PRESENT_FROM, "5.14.0-427.el9") is News.NEW
    assert _news(known, State.PRESENT_FROM, "5.14.0-284.el9") is News.CONTRADICTION


def test_a_z_stream_s_fix_says_nothing_about_the_main_line(catalog: Catalog) -> None:
    known = _known(catalog, True, "5.14.0-427.40.1.el9_4")
    assert _news(known, State.ABSENT_THROUGH, "5.14.0-430.el9") is News.NEW
    assert _news(known, State.ABSENT_THROUGH, "5.14.0-427.44.1.el9_4") is News.CONTRADICTION
    assert _news(known, State.PRESENT_FROM, "5.14.0-427.44.1.el9_4") is News.SAME
    assert _news(known, State.REVERTED_IN, "5.14.0-427.44.1.el9_4") is News.CONTRADICTION


def test_a_contradiction_is_printed_and_in_the_json(catalog: Catalog) -> None:
    known = _known(catalog, True, "5.14.0-427.el9")
    survey = _survey(State.ABSENT_THROUGH, "5.14.0-430.el9")
    assert has_conflicts(survey, known)
    text = render_survey(survey, known)
    assert "Contradicts what is known of these builds" in text
    assert "the catalogue: present from 5.14.0-427.el9" in text
    assert '"words": "absent through 5.14.0-430.el9' in survey_as_json(survey, known)
    assert survey.conflicts == ()


def test_what_the_shipped_surveys_say_counts(catalog: Catalog) -> None:
    """The shipped survey of RHEL 9.2 has this fix from 5.14.0-221.el9 on."""
    claims = (Claim("ff672c67ee76", State.PRESENT_FROM, "5.14.0-221.el9", "made", series=_SERIES),)
    survey = _survey(State.PRESENT_FROM, "5.14.0-221.el9")._replace(claims=claims)
    (found,) = compare_series(survey, catalog)
    assert found.news is News.SAME
    assert found.known is not None
    assert "5.14.0-221.el9" in found.known
