"""Compares a survey with the catalogue: claims that are new, that reach further, or that contradict it. Adds the first
two to the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.commit import BranchFact, Commit
from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact
from tailcall_audit.analyzer.survey.reach import series_reaches
from tailcall_audit.analyzer.survey.types import MAINLINE, Claim, Kind, Series, State, Survey
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = ["Finding", "News", "compare", "series_facts", "with_surveys"]


class News(Enum):
    """How a claim relates to the catalogue."""

    NEW = "new"
    LATER = "later"
    SAME = "known"
    CONTRADICTION = "contradiction"


class Finding(NamedTuple):
    """A claim, how it relates to the catalogue, and what the catalogue says (None: nothing)."""

    claim: Claim
    news: News
    known: str | None


def _of_fact(fact: BranchFact) -> str:
    if fact.release is not None:
        return f"present from {fact.release} ({fact.source})"
    if fact.present_by is not None:
        return f"present by {fact.present_by} ({fact.source})"
    return f"absent through {fact.surveyed_through} ({fact.source})"


def _mainline_news(commit: Commit, release: UpstreamVersion) -> News:
    if release == commit.first_release:
        return News.SAME
    exact = commit.first_release.rc is None and release.rc is not None
    return News.NEW if exact and release._replace(rc=None) == commit.first_release else News.CONTRADICTION


def _lacks(fact: BranchFact, release: UpstreamVersion) -> bool:
    """Returns True if the release is known to lack a commit that a later one is known to have."""
    return fact.present_by is not None and fact.surveyed_through is not None and release <= fact.surveyed_through


def _present_news(fact: BranchFact, release: UpstreamVersion) -> News:
    if _lacks(fact, release):
        return News.CONTRADICTION
    if fact.release is not None:
        return News.SAME if fact.release == release else News.CONTRADICTION
    if fact.present_by is not None:
        return News.NEW if release <= fact.present_by else News.CONTRADICTION
    assert fact.surveyed_through is not None
    return News.LATER if fact.surveyed_through < release else News.CONTRADICTION


def _by_news(fact: BranchFact, release: UpstreamVersion) -> News:
    if _lacks(fact, release):
        return News.CONTRADICTION
    there = fact.release or fact.present_by
    if there is not None:
        return News.SAME if there <= release else News.CONTRADICTION if fact.release else News.NEW
    assert fact.surveyed_through is not None
    return News.LATER if fact.surveyed_through < release else News.CONTRADICTION


def _absent_news(fact: BranchFact, release: UpstreamVersion) -> News:
    there = fact.release or fact.present_by
    if there is not None:
        return News.CONTRADICTION if there <= release else News.SAME
    assert fact.surveyed_through is not None
    return News.LATER if fact.surveyed_through < release else News.SAME


def _news(claim: Claim, commit: Commit) -> tuple[News, str | None]:
    release = parse_version(claim.release)
    if claim.branch == MAINLINE:
        return _mainline_news(commit, release), f"in mainline since {commit.first_release} ({commit.source})"
    fact = commit.branches.get(claim.branch or "")
    if fact is None:
        return News.NEW, None
    if claim.state is State.PRESENT_FROM:
        return _present_news(fact, release), _of_fact(fact)
    if claim.state is State.PRESENT_BY:
        return _by_news(fact, release), _of_fact(fact)
    if claim.state is State.ABSENT_THROUGH:
        return _absent_news(fact, release), _of_fact(fact)
    there = fact.release or fact.present_by
    return (News.CONTRADICTION if there is not None else News.NEW), _of_fact(fact)


def compare(survey: Survey, catalog: Catalog) -> tuple[Finding, ...]:
    """Returns how each claim about a branch relates to the catalogue. Claims about commits that it does not have are
    left out.

    If one claim about a commit on a branch contradicts the catalogue, its other claims about that commit and branch
    that are new or reach further count as contradictions too: the releases are then in doubt.
    """
    found = []
    for claim in survey.claims:
        commit = catalog.commits.get(claim.commit)
        if commit is None or claim.branch is None:
            continue
        try:
            news, known = _news(claim, commit)
        except ValueError:
            continue  # not a Linux release number
        found.append(Finding(claim, news, known))
    contradicted = {(item.claim.commit, item.claim.where) for item in found if item.news is News.CONTRADICTION}
    return tuple(
        item._replace(news=News.CONTRADICTION)
        if item.news is not News.SAME and (item.claim.commit, item.claim.where) in contradicted
        else item
        for item in found
    )


def _fact(claims: list[Claim], survey: Survey) -> BranchFact | None:
    """Returns the fact that follows from claims about a commit on a branch; None for mainline and for a series."""
    branch = claims[0].branch
    if branch is None or branch == MAINLINE:
        return None
    source = f"{claims[-1].source}, surveyed on {survey.date}"
    basis = Basis(survey.name, survey.date)
    last = claims[-1]
    if last.state is State.ABSENT_THROUGH:
        return BranchFact(
            branch, False, None, None, parse_version(last.release), None, source, None, survey.name, basis=basis
        )
    if last.state is State.PRESENT_BY:
        by = parse_version(last.release)
        return BranchFact(branch, True, None, by, None, last.id, source, None, survey.name, basis=basis)
    changes = tuple((parse_version(item.release), item.state is State.PRESENT_FROM) for item in claims)
    if len(changes) == 1 and changes[0][1]:
        return BranchFact(branch, True, changes[0][0], None, None, last.id, source, None, survey.name, basis=basis)
    through = parse_version(survey.reach[branch]) if branch in survey.reach else changes[-1][0]
    return BranchFact(branch, True, None, None, through, last.id, source, None, survey.name, changes, basis)


def _confirmed(commit: Commit, branch: str, survey: Survey, catalog: Catalog) -> Commit:
    """Returns a commit whose fact about a branch, or about mainline, has the date of a survey that confirms it, if that
    is later than its own.
    """
    basis = Basis(survey.name, survey.date)
    if branch == MAINLINE:
        known = commit.basis
        return commit._replace(basis=basis) if basis.date > (known.date if known else catalog.date) else commit
    fact = commit.branches[branch]
    if basis.date <= (fact.basis.date if fact.basis else catalog.date):
        return commit
    return commit._replace(branches={**commit.branches, branch: fact._replace(basis=basis)})


def with_surveys(catalog: Catalog, surveys: Iterable[Survey]) -> Catalog:
    """Returns the catalogue with the facts that surveys add: facts that are new, or that reach further than its own.

    Claims that contradict the catalogue are left out. Claims that confirm a fact give it the survey's date. The
    strongest kind of survey is merged first, and no weaker one overrules it.
    """
    ranks = list(Kind)
    for survey in sorted(surveys, key=lambda item: (ranks.index(item.kind), item.name)):
        grouped: dict[tuple[str, str], list[Claim]] = {}
        commits = dict(catalog.commits)
        for item in compare(survey, catalog):
            if item.news in (News.NEW, News.LATER):
                grouped.setdefault((item.claim.commit, item.claim.where), []).append(item.claim)
            elif item.news is News.SAME:
                commits[item.claim.commit] = _confirmed(commits[item.claim.commit], item.claim.where, survey, catalog)
        for (key, branch), claims in grouped.items():
            fact = _fact(claims, survey)
            if fact is not None:
                commit = commits[key]
                known = commit.branches.get(branch)
                if fact.present_by is not None and known is not None:  # what is known to lack it stays known
                    fact = fact._replace(surveyed_through=known.surveyed_through)
                commits[key] = commit._replace(branches={**commit.branches, branch: fact})
        catalog = catalog._replace(commits=commits, series=(*catalog.series, *series_facts(survey, catalog)))
        catalog = catalog._replace(reaches=(*catalog.reaches, *series_reaches(survey, catalog)))
    return catalog


_EXCERPT = "by an excerpt of a changelog, whose other entries may take it back"


def series_facts(survey: Survey, catalog: Catalog) -> Iterator[SeriesFact]:
    """Yields the facts about builds that a survey adds. There is none for a commit that was reverted in the series,
    because a fact cannot express which builds have it.
    """
    reverted = {(item.commit, item.series, item.rebuilder) for item in survey.claims if item.state is State.REVERTED_IN}
    known = {(fact.distro, fact.base, fact.series, fact.commit, fact.rebuilder) for fact in catalog.series}
    for claim in survey.claims:
        if claim.series is None or claim.commit not in catalog.commits:
            continue
        if (claim.commit, claim.series, claim.rebuilder) in reverted:
            continue
        try:
            series = Series.from_text(claim.series)
        except ValueError:
            continue
        source = f"survey {survey.name} of {survey.date}: {claim.source}"
        present = claim.state is State.PRESENT_FROM
        tag = series.tag or series.base
        if (series.distro, series.base, tag, claim.commit, claim.rebuilder) not in known:
            basis = Basis(survey.name, survey.date)
            note = _EXCERPT if survey.excerpt else None
            yield SeriesFact(
                series.distro,
                tag,
                series.base,
                claim.commit,
                present,
                claim.release,
                False,
                source,
                note,
                basis,
                claim.rebuilder,
            )
