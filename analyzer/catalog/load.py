"""Reading `commits.json` into the types of `tailcall_audit.analyzer.catalog.types`.

The shipped file is validated against `commits.schema.json` by the tests, a file given by the user when it is loaded: the
import of a schema validator costs more than the whole audit of a version string.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import tailcall_audit
from tailcall_audit.analyzer.catalog.expression import leaves, parse_expression
from tailcall_audit.analyzer.catalog.types import (
    CAPABILITY_PREFIX,
    AffectedRange,
    Branch,
    BranchFact,
    BranchRanges,
    Capability,
    Catalog,
    Commit,
    Defect,
    NotAFix,
    SeriesFact,
)
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CatalogError", "default_catalog_path", "load_catalog", "schema_path"]

_MAX_BYTES = 16 << 20


class CatalogError(AuditError):
    """A catalogue that cannot be read or is not valid; the message says where and why."""


def default_catalog_path() -> str:
    """Return the path of `commits.json`: inside the package in a wheel, beside it in a checkout."""
    package = os.path.dirname(os.path.abspath(tailcall_audit.__file__))
    packaged = os.path.join(package, "commits.json")
    return packaged if os.path.isfile(packaged) else os.path.join(os.path.dirname(package), "commits.json")


def schema_path() -> str:
    """The JSON Schema of the catalogue."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "commits.schema.json")


@lru_cache(maxsize=4096)
def _version(text: str | None) -> UpstreamVersion | None:
    return None if text is None else parse_version(text)


def _commit(key: str, data: dict[str, Any]) -> Commit:
    facts = [
        BranchFact(
            branch=entry["branch"],
            backported=entry["status"] == "backported",
            release=_version(entry["release"]),
            present_by=_version(entry.get("present_by")),
            surveyed_through=_version(entry["surveyed_through"]),
            id=entry["id"],
            source=entry["source"],
            unverified=entry.get("unverified"),
        )
        for entry in data["branches"]
    ]
    return Commit(
        key=key,
        id=data["id"],
        subject=data["subject"],
        first_release=parse_version(data["first_release"]),
        is_feature=data["kind"] == "feature",
        files=tuple(data["files"]),
        branches={fact.branch: fact for fact in facts},
        source=data["source"],
        unverified=data.get("unverified"),
        aliases=tuple(data.get("aliases", ())),
        only_on_branch=data.get("only_on_branch"),
        signature_data=tuple(data["signature"]),
        btf=data.get("btf"),
    )


def _capability(key: str, data: dict[str, Any]) -> Capability:
    entries = data["architectures"]
    return Capability(
        key=CAPABILITY_PREFIX + key,
        title=data["title"],
        why=data["why"],
        present_from={entry["architecture"]: parse_version(entry["present_from"]) for entry in entries},
        absent_through={
            entry["architecture"]: parse_version(entry["absent_through"])
            for entry in entries
            if entry["absent_through"]
        },
        files={entry["architecture"]: entry["file"] for entry in entries},
        sources={entry["architecture"]: entry["source"] for entry in entries},
    )


def _defect(data: dict[str, Any]) -> Defect:
    reachable = parse_expression(data["reachable"])
    fixed = None if data["fixed"] is None else parse_expression(data["fixed"])
    names = tuple(dict.fromkeys((*leaves(reachable), *leaves(fixed))))
    return Defect(
        slug=data["slug"],
        pitfall=data["pitfall"],
        title=data["title"],
        mechanism=data["mechanism"],
        consequence=data["consequence"],
        severity=data["severity"],
        architectures=tuple(name for name in data["architectures"] if name != "*"),
        config=parse_expression(data["config"]),
        reachable=reachable,
        fixed=fixed,
        cves=tuple(data["cves"]),
        references=tuple(data["references"]),
        detection=data["detection"],
        hazard=data["hazard"],
        notes=tuple(data["notes"]),
        ranges=tuple(
            BranchRanges(
                entry["branch"],
                tuple(AffectedRange(item["from"], item["fixed"]) for item in entry["affected"]),
                entry["surveyed_through"],
            )
            for entry in data["ranges"]
        ),
        unverified=data.get("unverified"),
        commits=tuple(name for name in names if not name.startswith(CAPABILITY_PREFIX)),
        capabilities=tuple(name for name in names if name.startswith(CAPABILITY_PREFIX)),
    )


def _not_fix(data: dict[str, Any]) -> NotAFix:
    return NotAFix(data["subject"], data["commit"], data["reason"], data["source"])


def _branch(name: str, data: dict[str, Any]) -> Branch:
    return Branch(name, data["released"], _version(data["last"]), data["ended"])


def _build(data: dict[str, Any], raw: bytes, path: str) -> Catalog:
    catalog = Catalog(
        date=data["date"],
        raw=raw,
        path=path,
        newest_mainline=parse_version(data["newest_mainline"]),
        commits={key: _commit(key, entry) for key, entry in data["commits"].items()},
        capabilities={CAPABILITY_PREFIX + key: _capability(key, entry) for key, entry in data["capabilities"].items()},
        defects=tuple(_defect(entry) for entry in data["defects"]),
        series=tuple(
            SeriesFact(
                entry["distro"],
                entry["series"],
                entry["base"],
                entry["commit"],
                entry["presence"] == "present",
                entry["from"],
                entry["exact"],
                entry["source"],
                entry["note"],
            )
            for entry in data["distro_series"]
        ),
        branches={name: _branch(name, entry) for name, entry in data["branches"]["entries"].items()},
        sources=data["sources"],
        not_fixes=tuple(_not_fix(entry) for entry in data["not_fixes"]),
        cosmetic_reverts=tuple(_not_fix(entry) for entry in data["cosmetic_reverts"]),
    )
    _check_names(catalog)
    return catalog


def _check_names(catalog: Catalog) -> None:
    """Raise CatalogError where an expression, a series or an exception names a commit that the catalogue lacks."""
    for key, commit in catalog.commits.items():
        if not commit.id.startswith(key):
            raise CatalogError(f"{catalog.path}: commits/{key}: its id {commit.id} does not start with its key")
    named = [(f"defects/{defect.slug}", name) for defect in catalog.defects for name in defect.commits]
    named += [(f"distro_series/{fact.distro} {fact.series}", fact.commit) for fact in catalog.series]
    named += [("not_fixes", entry.commit) for entry in catalog.not_fixes]
    named += [("cosmetic_reverts", entry.commit) for entry in catalog.cosmetic_reverts]
    for where, name in named:
        if name not in catalog.commits:
            raise CatalogError(f"{catalog.path}: {where}: names commit {name!r}, which is not under commits")
    for defect in catalog.defects:
        for name in defect.capabilities:
            if name not in catalog.capabilities:
                raise CatalogError(
                    f"{catalog.path}: defects/{defect.slug}: names {name!r}, which is not under capabilities"
                )
    slugs = [defect.slug for defect in catalog.defects]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise CatalogError(f"{catalog.path}: defects: the slug {slug!r} stands there more than once")


def _validate(data: object, path: str) -> None:
    """Validate a catalogue against its schema; raises CatalogError that names the place."""
    import jsonschema

    with open(schema_path(), encoding="utf-8") as file:
        schema = json.load(file)
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(data), key=lambda error: error.json_path)
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        message = first.message if len(first.message) < 200 else first.message[:200] + " …"
        raise CatalogError(f"{path}: {first.json_path}: {message}{more}")


def load_catalog(path: str | Path | None = None) -> Catalog:
    """Load the shipped catalogue, or the one at `path`, which is validated first.

    Raises CatalogError when the file cannot be read, is no JSON or not valid.
    """
    place = default_catalog_path() if path is None else path
    try:
        with open(place, "rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise CatalogError(f"{place}: cannot read the catalogue: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise CatalogError(f"{place}: larger than {_MAX_BYTES >> 20} MiB, which no catalogue is")
    try:
        data = json.loads(raw)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        where = f":{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CatalogError(f"{place}{where}: not JSON: {error}") from error
    if path is not None:
        _validate(data, str(place))
    try:
        return _build(data, raw, str(place))
    except (KeyError, TypeError, ValueError) as error:
        raise CatalogError(f"{place}: not a catalogue: {error}") from error
