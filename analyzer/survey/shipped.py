"""The surveys of packages that are shipped: `surveys.json`, built from the folder `catalog/surveys/packages/`."""

from __future__ import annotations

import json
from pathlib import Path

from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact
from tailcall_audit.analyzer.survey.compare import series_facts
from tailcall_audit.analyzer.survey.store import from_bytes
from tailcall_audit.analyzer.survey.types import SurveyError
from tailcall_audit.probes.reading import read_file

__all__ = ["build_shipped"]

SCHEMA_VERSION = 1
_MAX_BYTES = 16 << 20
_FOLDER = Path("surveys", "packages")


def _fact_data(fact: SeriesFact, survey: str) -> dict[str, str]:
    note = {} if fact.note is None else {"note": fact.note}
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


def _once(facts: list[dict[str, str]]) -> list[dict[str, str]]:
    """Orders facts, and keeps one of those that say the same from several changelogs."""
    kept: dict[tuple[str, ...], dict[str, str]] = {}
    for fact in sorted(facts, key=lambda entry: (entry["series"], entry["commit"], entry["from"], entry["source"])):
        kept.setdefault(tuple(value for name, value in fact.items() if name not in ("source", "survey")), fact)
    return list(kept.values())


def build_shipped(catalog_folder: Path, catalog: Catalog) -> bytes:
    """Returns the content of `surveys.json`: the facts of every survey, by distribution. The same files give the same
    bytes.

    Raises SurveyError if a file is no survey, or two have one name.
    """
    facts: dict[str, list[dict[str, str]]] = {}
    surveys: dict[str, str] = {}
    for path in sorted((catalog_folder / _FOLDER).glob("*.json")):
        try:
            survey = from_bytes(read_file(path, _MAX_BYTES), str(path))
        except OSError as error:
            raise SurveyError(f"{path}: {error.strerror or error}") from error
        if survey.name in surveys:
            raise SurveyError(f"{path}: another file has a survey of the name {survey.name!r} too")
        surveys[survey.name] = survey.date
        for fact in series_facts(survey, catalog):
            facts.setdefault(fact.distro, []).append(_fact_data(fact, survey.name))
    once = {name: _once(entries) for name, entries in facts.items()}
    data = {"schema_version": SCHEMA_VERSION, "surveys": surveys, "facts": once}
    return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
