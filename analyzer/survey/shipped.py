"""Builds the files of shipped surveys: `surveys.json` from the folder `catalog/surveys/packages/`, and `branches.json`
from `catalog/surveys/stable/`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tailcall_audit.analyzer.catalog.commit import BranchFact
from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact, SeriesReach
from tailcall_audit.analyzer.survey.compare import series_facts, with_surveys
from tailcall_audit.analyzer.survey.reach import series_reaches
from tailcall_audit.analyzer.survey.store import from_bytes
from tailcall_audit.analyzer.survey.types import Survey, SurveyError
from tailcall_audit.probes.reading import read_file

__all__ = ["BRANCHES", "PACKAGES", "build_branches", "build_shipped"]

SCHEMA_VERSION = 1
_MAX_BYTES = 16 << 20
PACKAGES, BRANCHES = Path("surveys", "packages"), Path("surveys", "stable")
"""The folders of the two kinds of shipped surveys in `catalog/`."""


def _fact_data(fact: SeriesFact, survey: str) -> dict[str, str]:
    note = {} if fact.note is None else {"note": fact.note}
    note |= {} if fact.rebuilder is None else {"rebuilder": fact.rebuilder}
    return note | {
        "distro": fact.distro,
        "series": fact.series,
        "base": fact.base,
        "commit": fact.commit,
        "presence": "present" if fact.present else "absent",
        "from": fact.start,
        "source": fact.source,
        "survey": survey,
    }


def _reach_data(reach: SeriesReach) -> dict[str, object]:
    more = {} if reach.rebuilder is None else {"rebuilder": reach.rebuilder}
    found: dict[str, object] = {name: getattr(reach, name) for name in ("series", "base", "through", "survey")}
    return found | more | ({"apart": sorted(reach.apart)} if reach.apart else {})


def _once(facts: list[dict[str, str]]) -> list[dict[str, str]]:
    """Sorts facts, and keeps one of several that state the same from different changelogs."""
    kept: dict[tuple[str, ...], dict[str, str]] = {}
    for fact in sorted(facts, key=lambda entry: (entry["series"], entry["commit"], entry["from"], entry["source"])):
        kept.setdefault(tuple(value for name, value in fact.items() if name not in ("source", "survey")), fact)
    return list(kept.values())


def _surveys(folder: Path, new: Survey | None, gone: str | None) -> Iterator[Survey]:
    """Yields the surveys in a folder, with `new` in place of the one of its name, and without the one named `gone`.
    Raises SurveyError if a file is not a survey, or two have the same name.
    """
    seen: set[str] = set()
    left_out = {gone, None if new is None else new.name}
    if new is not None:
        seen.add(new.name)
        yield new
    for path in sorted(folder.glob("*.json")):
        if path.stem in left_out:
            continue
        try:
            survey = from_bytes(read_file(path, _MAX_BYTES), str(path))
        except OSError as error:
            raise SurveyError(f"{path}: {error.strerror or error}") from error
        if survey.name in seen:
            raise SurveyError(f"{path}: another file has a survey of the name {survey.name!r} too")
        seen.add(survey.name)
        yield survey


def _as_bytes(data: dict[str, object]) -> bytes:
    return (
        json.dumps({"schema_version": SCHEMA_VERSION, **data}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    ).encode()


def build_shipped(catalog_folder: Path, catalog: Catalog, new: Survey | None = None, gone: str | None = None) -> bytes:
    """Returns the content of `surveys.json`: the facts of all surveys by distribution. Each distribution is one line,
    so an audit can parse it alone. The same files give the same bytes. `new` is a survey that is about to be written
    there, `gone` the name of one that is about to be removed.

    Raises SurveyError if a file is not a survey, or two have the same name.
    """
    facts: dict[str, list[dict[str, str]]] = {}
    surveys: dict[str, str] = {}
    reaches: dict[str, list[dict[str, object]]] = {}
    for survey in _surveys(catalog_folder / PACKAGES, new, gone):
        surveys[survey.name] = survey.date
        for reach in series_reaches(survey, catalog):
            reaches.setdefault(reach.distro, []).append(_reach_data(reach))
        for fact in series_facts(survey, catalog):
            facts.setdefault(fact.distro, []).append(_fact_data(fact, survey.name))
    lines = (f"{json.dumps(name)}: {_in_a_line(_once(facts[name]))}" for name in sorted(facts))
    text = ",\n".join(lines)
    head = f'{{\n"schema_version": {SCHEMA_VERSION},\n"surveys": {_in_a_line(surveys)},\n"reach": {_in_a_line(reaches)},\n"facts": {{\n'
    return f"{head}{text}\n}}}}\n".encode()


def _in_a_line(data: object) -> str:
    return json.dumps(data, sort_keys=True, ensure_ascii=False)


def _branch_data(fact: BranchFact) -> dict[str, object]:
    data: dict[str, object] = {"source": fact.source, "survey": fact.survey}
    named = {"release": fact.release, "by": fact.present_by, "through": fact.surveyed_through}
    data |= {name: str(version) for name, version in named.items() if version is not None}
    if fact.id is not None:
        data["id"] = fact.id
    if fact.changes:
        data["changes"] = [[str(release), brings] for release, brings in fact.changes]
    return data


def build_branches(catalog_folder: Path, catalog: Catalog, new: Survey | None = None, gone: str | None = None) -> bytes:
    """Returns the content of `branches.json`: the facts that surveys of stable branches add to the catalogue, by commit
    and branch. Claims that contradict the catalogue are left out, and the stronger kind of two surveys counts. `new`
    and `gone` are as for `build_shipped`.

    Raises SurveyError if a file is not a survey, or two have the same name.
    """
    found = list(_surveys(catalog_folder / BRANCHES, new, gone))
    facts: dict[str, dict[str, object]] = {}
    for key, commit in with_surveys(catalog, found).commits.items():
        for branch, fact in commit.branches.items():
            if fact.survey is not None:
                facts.setdefault(key, {})[branch] = _branch_data(fact)
    return _as_bytes({"surveys": {survey.name: survey.date for survey in found}, "facts": facts})
