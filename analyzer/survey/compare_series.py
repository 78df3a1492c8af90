"""Compares what a survey says of a distribution's builds with what the catalogue and the shipped surveys say of them.

Only for the reader of a survey: an audit takes all of these facts, and where they contradict each other its answer is
unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact
from tailcall_audit.analyzer.readers.series import facts_of_series
from tailcall_audit.analyzer.survey.compare import Finding, News
from tailcall_audit.analyzer.survey.types import Claim, Series, State, Survey
from tailcall_audit.analyzer.version import build_key

__all__ = ["compare_series"]


def _of_fact(fact: SeriesFact) -> str:
    return f"{'present from' if fact.present else 'absent through'} {fact.start} ({fact.source})"


def _news(claim: Claim, facts: Sequence[tuple[SeriesFact, bool]]) -> tuple[News, SeriesFact | None]:
    """Returns how a claim relates to the facts about its commit, and the fact that says so."""
    present = claim.state in (State.PRESENT_FROM, State.PRESENT_BY)
    holding = [fact for fact, holds in facts if holds]
    against = next((fact for fact in holding if fact.present is not present), None)
    if against is not None:
        return News.CONTRADICTION, against
    if holding and claim.state is not State.REVERTED_IN:
        return News.SAME, holding[0]
    build = build_key(claim.release)
    ended = [fact for fact, _ in facts if not (fact.present or fact.exact) and build_key(fact.start) < build]
    return (News.LATER, ended[-1]) if ended else (News.NEW, None)


def compare_series(survey: Survey, catalog: Catalog) -> Iterator[Finding]:
    """Yields how each claim about a build relates to what is known. Claims about commits that the catalogue does not
    have, and about no series, are left out.
    """
    for claim in survey.claims:
        if claim.series is None or claim.commit not in catalog.commits:
            continue
        try:
            series = Series.from_text(claim.series)
        except ValueError:
            continue
        tag = series.tag or series.base
        facts = [
            (fact, holds)
            for fact, holds in facts_of_series(catalog, series.distro, series.base, tag, claim.release)
            if fact.commit == claim.commit and fact.rebuilder == claim.rebuilder
        ]
        news, known = _news(claim, facts)
        yield Finding(claim, news, None if known is None else _of_fact(known))
