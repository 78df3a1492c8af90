"""Loads what surveys found, from `surveys.json` and `branches.json` beside the shipped catalogue: facts about builds of
distributions and about releases of stable branches.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.check import MAX_BYTES, CatalogError
from tailcall_audit.analyzer.catalog.commit import BranchFact
from tailcall_audit.analyzer.catalog.load import default_catalog_path, load_series_fact, optional_version
from tailcall_audit.analyzer.catalog.types import SeriesFact, SeriesReach
from tailcall_audit.analyzer.version import parse_version
from tailcall_audit.probes.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["shipped_branches", "shipped_facts", "shipped_reaches"]

_END = b"}}"
"""The last line of `surveys.json`, which ends its facts and the whole."""
_OTHER_LINES = ("surveys", "reach", "facts", "schema_version")
"""The lines of `surveys.json` that are no distribution's facts."""


def _surveys_path() -> str:
    return os.path.join(os.path.dirname(default_catalog_path()), "surveys.json")


@lru_cache(maxsize=1)
def _survey_lines() -> Mapping[str, bytes]:
    """Returns the lines of `surveys.json`, by the name that each begins with: it has the facts of a distribution, and the
    surveys, in one line each, so that an audit parses one of them. Raises CatalogError if the file is there and cannot
    be read, or lacks its end.
    """
    try:
        lines = read_file(_surveys_path(), MAX_BYTES).splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CatalogError(f"{_surveys_path()}: cannot read the shipped surveys: {error}") from error
    if not lines or lines[-1] != _END:
        raise CatalogError(
            f"{_surveys_path()}: the shipped surveys are cut off: their last line is not {_END.decode()}"
        )
    named = (line.partition(b": ") for line in lines if line.startswith(b'"'))
    return {name.strip(b'"').decode("utf-8", "replace"): rest.rstrip(b",") for name, _, rest in named}


@lru_cache(maxsize=64)
def shipped_facts(distribution: str) -> tuple[SeriesFact, ...]:
    """Returns the facts about a distribution's builds in `surveys.json`, beside the shipped catalogue. Read only when a
    build is named.

    Raises CatalogError if the file is there and cannot be read.
    """
    lines = _survey_lines()
    if distribution not in lines or distribution in _OTHER_LINES:
        return ()
    try:
        surveys = {name: Basis(name, date) for name, date in json.loads(lines["surveys"]).items()}
        return tuple(load_series_fact(entry, surveys[entry["survey"]]) for entry in json.loads(lines[distribution]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogError(f"{_surveys_path()}: cannot read the shipped surveys: {error}") from error


@lru_cache(maxsize=64)
def shipped_reaches(distribution: str) -> tuple[SeriesReach, ...]:
    """Returns how far the shipped surveys have read the changelogs of a distribution. Raises CatalogError as
    `shipped_facts` does.
    """
    try:
        return tuple(
            SeriesReach(
                distribution,
                entry["series"],
                entry["base"],
                entry["through"],
                entry["survey"],
                entry.get("rebuilder"),
                frozenset(entry.get("apart", ())),
            )
            for entry in json.loads(_survey_lines().get("reach", b"{}")).get(distribution, ())
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogError(f"{_surveys_path()}: cannot read the shipped surveys: {error}") from error


def _surveyed_branch(branch: str, data: dict[str, Any], surveys: Mapping[str, Basis]) -> BranchFact:
    changes = tuple((parse_version(release), bool(brings)) for release, brings in data.get("changes", ()))
    return BranchFact(
        branch=branch,
        backported=bool(changes) or "release" in data or "by" in data,
        release=optional_version(data.get("release")),
        present_by=optional_version(data.get("by")),
        surveyed_through=optional_version(data.get("through")),
        id=data.get("id"),
        source=data["source"],
        unverified=None,
        survey=data["survey"],
        changes=changes,
        basis=surveys[data["survey"]],
    )


@lru_cache(maxsize=1)
def shipped_branches() -> Mapping[str, Mapping[str, BranchFact]]:
    """Returns the facts about stable branches in `branches.json`, beside the shipped catalogue, by commit and branch: what
    surveys add to it. Read only where the catalogue leaves a release open.

    Raises CatalogError if the file is there and cannot be read.
    """
    place = os.path.join(os.path.dirname(default_catalog_path()), "branches.json")
    try:
        data = json.loads(read_file(place, MAX_BYTES))
        surveys = {name: Basis(name, date) for name, date in data["surveys"].items()}
        return {
            key: {branch: _surveyed_branch(branch, fact, surveys) for branch, fact in facts.items()}
            for key, facts in data["facts"].items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogError(f"{place}: cannot read the shipped surveys of branches: {error}") from error
