"""Finds out how far a survey of changelogs has read each series of builds. To survey these again adds nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.types import Catalog, SeriesReach
from tailcall_audit.analyzer.survey.types import Kind, Series, State, Survey

__all__ = ["series_reaches"]


def series_reaches(survey: Survey, catalog: Catalog) -> Iterator[SeriesReach]:
    """Yields how far a survey has read each of its series. There is none of an excerpt, nor of a survey that is older
    than the catalogue, which may know commits that the survey did not look for.

    Who wrote the changelog of a series shows in its claims. If builds have rebuilders, a series without a claim may be
    anyone's, and is left out.
    """
    if survey.kind is not Kind.PACKAGES or survey.excerpt or survey.date < catalog.date:
        return
    rebuilt = {item.name for item in catalog.distributions if item.rebuilders}
    for text, through in survey.reach.items():
        try:
            series = Series.from_text(text)
        except ValueError:
            continue
        claims = [claim for claim in survey.claims if claim.series == text]
        owners = {claim.rebuilder for claim in claims} or (set() if series.distro in rebuilt else {None})
        if len(owners) == 1:
            apart = frozenset(claim.commit for claim in claims if claim.state is State.REVERTED_IN)
            (owner,) = owners
            tag = series.tag or series.base
            yield SeriesReach(series.distro, tag, series.base, through, survey.name, owner, apart)
