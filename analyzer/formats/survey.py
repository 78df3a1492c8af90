"""A survey as text and as JSON: additions to the catalogue, and contradictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.survey.compare import Finding, News, compare
from tailcall_audit.analyzer.survey.store import as_data
from tailcall_audit.analyzer.survey.types import Claim, Conflict, State, Survey
from tailcall_audit.analyzer.text import printable
from tailcall_audit.analyzer.version import build_key

__all__ = ["has_conflicts", "render_survey", "render_surveys", "survey_as_json", "surveys_as_json"]

_TITLES = {
    News.NEW: "New to the catalogue",
    News.LATER: "Reaches further than the catalogue",
    News.CONTRADICTION: "Contradicts the catalogue (not used by audits)",
}
_LISTED = 4
"""The most releases of a survey in a list of surveys."""
_SERIES_TITLE = "Contradicts what is known of these builds (where they differ, an audit's answer is unknown)"
_WORDS = {
    State.PRESENT_FROM: "from",
    State.PRESENT_BY: "by",
    State.REVERTED_IN: "reverted in",
    State.ABSENT_THROUGH: "absent through",
}


def _findings(survey: Survey, catalog: Catalog) -> tuple[Finding, ...]:
    if not any(claim.series for claim in survey.claims):
        return compare(survey, catalog)
    from tailcall_audit.analyzer.survey.compare_series import compare_series  # a survey of branches does not need it

    return (*compare(survey, catalog), *compare_series(survey, catalog))


def survey_as_json(survey: Survey, catalog: Catalog) -> str:
    """Returns a survey as JSON, in the form that docs/surveys.md gives. Its conflicts are those within the source and
    those with the catalogue.
    """
    against = [
        Conflict(item.claim.commit, item.claim.where, f"{_claim_words(item.claim)}; the catalogue: {item.known}")
        for item in _findings(survey, catalog)
        if item.news is News.CONTRADICTION
    ]
    return json.dumps(as_data(survey._replace(conflicts=(*survey.conflicts, *against))), indent=2) + "\n"


def has_conflicts(survey: Survey, catalog: Catalog) -> bool:
    """Returns True if the source contradicts itself or the catalogue."""
    return bool(survey.conflicts) or any(item.news is News.CONTRADICTION for item in _findings(survey, catalog))


def _claim_words(claim: Claim) -> str:
    return f"{_WORDS[claim.state]} {claim.release} ({claim.source})"


def _claim_line(claim: Claim, catalog: Catalog) -> str:
    commit = catalog.commits.get(claim.commit)
    subject = "" if commit is None else f'  ("{commit.subject}")'
    whose = "" if claim.rebuilder is None else f" of {claim.rebuilder}'s"
    return f"  {claim.where:9} {claim.commit}  {_WORDS[claim.state]} {claim.release}{whose}{subject}"


def _finding_lines(finding: Finding, catalog: Catalog) -> list[str]:
    lines = [_claim_line(finding.claim, catalog)]
    if finding.known is not None:
        lines.append(f"            the catalogue: {finding.known}")
    if finding.news is News.CONTRADICTION:
        lines.append(f"            this survey: {finding.claim.source}")
    return lines


def _reach_line(survey: Survey, most: int | None = None) -> str:
    """Returns what was read, and through which releases: the newest first, and at most `most` of them."""
    releases = sorted(survey.reach.values(), key=build_key, reverse=True)
    shown = releases[:most]
    more = f" and {len(releases) - len(shown)} others" if len(shown) < len(releases) else ""
    reach = f"{', '.join(shown)}{more}" or "what is listed; what is not listed proves nothing"
    return f"{survey.kind.value} survey of {survey.source}, {survey.date}: through {reach}"


def render_survey(survey: Survey, catalog: Catalog) -> str:
    """Returns a survey as text: a section each for what is new, what reaches further and what contradicts."""
    found = _findings(survey, catalog)
    lines = [_reach_line(survey), *(f"note: {note}" for note in survey.notes)]
    parts = [(news, title, is_series) for news, title in _TITLES.items() for is_series in (False, True)]
    for news, title, is_series in parts:
        chosen = [item for item in found if item.news is news and (item.claim.series is not None) is is_series]
        if chosen:
            lines += ["", f"{_SERIES_TITLE if is_series and news is News.CONTRADICTION else title}:"]
            lines += [line for item in chosen for line in _finding_lines(item, catalog)]
    if survey.conflicts:
        lines += ["", "The source contradicts itself (not claimed):"]
        lines += [f"  {item.where:9} {item.words}" for item in survey.conflicts]
    known = sum(item.news is News.SAME for item in found)
    series = sum(claim.series is not None for claim in survey.claims)
    lines += [
        "",
        f"{len(survey.claims)} claims, {known} known already" + (f", {series} about packages" if series else ""),
    ]
    return "\n".join(printable(line, 400) for line in lines) + "\n"


def render_surveys(kept: Sequence[tuple[Path, Sequence[Survey]]]) -> str:
    """Returns the surveys of each folder, with a line for each; the last folder is the user's."""
    lines = []
    for folder, surveys in kept:
        if not surveys and folder != kept[-1][0]:
            continue
        lines.append(f"{folder}:" if surveys else f"no surveys in {folder}")
        width = max((len(survey.name) for survey in surveys), default=0)
        lines += [f"  {survey.name:{width}}  {_reach_line(survey, _LISTED)}" for survey in surveys]
    return "".join(f"{printable(line, 300)}\n" for line in lines)


def surveys_as_json(kept: Sequence[tuple[Path, Sequence[Survey]]]) -> str:
    """Returns the surveys that are kept as JSON: for each its name, folder, kind, source, day, reach and number of
    claims.
    """
    rows = [
        {
            "name": survey.name,
            "folder": str(folder),
            "kind": survey.kind.value,
            "source": survey.source,
            "date": survey.date,
            "reach": dict(survey.reach),
            "claims": len(survey.claims),
        }
        for folder, surveys in kept
        for survey in surveys
    ]
    return json.dumps({"surveys": rows}, indent=2) + "\n"
