"""Checks a catalogue: against its schema, and that every name in it exists."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.libraries import jsonschema_errors
from tailcall_audit.probes.reading import read_file

__all__ = ["MAX_BYTES", "CatalogError", "check_names", "schema_path", "validate"]

MAX_BYTES = 16 << 20


class CatalogError(AuditError):
    """A catalogue that cannot be read or is not valid; the message says where and why."""


def schema_path() -> str:
    """Returns the JSON Schema of the catalogue."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "commits.schema.json")


def check_names(catalog: Catalog) -> None:
    """Raises CatalogError if an expression, a series or an exception names a commit that the catalogue lacks, or an id
    or a slug does not fit.
    """
    for key, commit in catalog.commits.items():
        if not commit.id.startswith(key):
            raise CatalogError(f"{catalog.path}: commits/{key}: its id {commit.id} does not start with its key")
    for where, name in _named_commits(catalog):
        if name not in catalog.commits:
            raise CatalogError(f"{catalog.path}: {where}: names commit {name!r}, which is not under commits")
    for defect in catalog.defects:
        _check_defect(catalog, defect)
    slugs = [defect.slug for defect in catalog.defects]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise CatalogError(f"{catalog.path}: defects: the slug {slug!r} stands there more than once")


def _named_commits(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Yields each place that names a commit, and the commit."""
    for defect in catalog.defects:
        yield from ((f"defects/{defect.slug}", name) for name in defect.commits)
    yield from ((f"distro_series/{fact.distro} {fact.series}", fact.commit) for fact in catalog.series)
    for key, commit in catalog.commits.items():
        yield from ((f"commits/{key}", entry.commit) for entry in (*commit.needs, *commit.follow_ups))
        yield from ((f"commits/{key}", change.until) for change in commit.changes if change.until is not None)
    yield from (("not_fixes", entry.commit) for entry in catalog.not_fixes)
    yield from (("cosmetic_reverts", entry.commit) for entry in catalog.cosmetic_reverts)


def _check_defect(catalog: Catalog, defect: Defect) -> None:
    """Raises CatalogError if a defect names a commit that is not in its expressions, or an unknown capability."""
    where = f"{catalog.path}: defects/{defect.slug}"
    for name in sorted(defect.unproven.difference(defect.commits)):
        raise CatalogError(f"{where}: unproven names {name!r}, which is not in its expressions")
    for name in defect.capabilities:
        if name not in catalog.capabilities:
            raise CatalogError(f"{where}: names {name!r}, which is not under capabilities")


def validate(data: object, path: str) -> None:
    """Validates a catalogue against its schema; raises a CatalogError that names the place."""
    import jsonschema

    schema = json.loads(read_file(schema_path(), MAX_BYTES))
    with jsonschema_errors(lambda words: CatalogError(f"{path}: cannot be validated: {words}")):
        errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(data), key=lambda error: error.json_path)
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        message = first.message if len(first.message) < 200 else first.message[:200] + " …"
        raise CatalogError(f"{path}: {first.json_path}: {message}{more}")
