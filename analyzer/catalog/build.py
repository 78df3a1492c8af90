"""Builds `commits.json` from the folder `catalog/`: the same files give the same bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tailcall_audit.analyzer.catalog.check import CatalogError
from tailcall_audit.analyzer.catalog.files import CatalogFiles, mapping, mappings, read_catalog_folder
from tailcall_audit.analyzer.catalog.load import build_catalog
from tailcall_audit.analyzer.catalog.ranges import derive_ranges
from tailcall_audit.analyzer.catalog.types import BranchRanges, Catalog
from tailcall_audit.analyzer.catalog.yaml_file import Complaint

__all__ = ["InvalidCatalogError", "build", "build_from", "load_built"]

SCHEMA_VERSION = 2
_LAST = 1 << 30


class InvalidCatalogError(CatalogError):
    """Faults in the files of a catalogue; the message has a line for each."""

    def __init__(self, complaints: tuple[Complaint, ...]) -> None:
        self.complaints = complaints
        super().__init__("\n".join(map(str, complaints)))


def build(root: Path) -> bytes:
    """Returns the content of `commits.json` for the folder `root`.

    Raises InvalidCatalogError with every fault by file and line, and CatalogError when PyYAML is not installed.
    """
    files = read_catalog_folder(root)
    if files.complaints:
        raise InvalidCatalogError(files.complaints)
    return build_from(files)


def load_built(files: CatalogFiles) -> Catalog:
    """Returns the catalogue that files without complaints give, without its derived ranges."""
    return build_catalog(_assembled(files), b"", str(files.root))


def build_from(files: CatalogFiles) -> bytes:
    """Returns the content of `commits.json` for files without complaints."""
    data = _assembled(files)
    catalog = build_catalog(data, b"", str(files.root))
    for entry, defect in zip(data["defects"], catalog.defects, strict=True):
        entry["ranges"] = [_range_data(item) for item in derive_ranges(catalog, defect)]
    return (json.dumps(_sorted(data), indent=1, ensure_ascii=False) + "\n").encode()


def _assembled(files: CatalogFiles) -> dict[str, Any]:
    tables: dict[str, Any] = {name: file.data for name, file in files.tables.items()}
    branches = tables["branches"]
    series: list[dict[str, Any]] = [
        {"distro": name, **fact} for name, file in files.series.items() for fact in mappings(file.data)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "date": branches["date"],
        "newest_mainline": branches["newest_mainline"],
        "sources": tables["sources"],
        "branches": {"source": branches["source"], "entries": branches["entries"]},
        "commits": {key: _without_lint(mapping(file.data)) for key, file in files.commits.items()},
        "capabilities": tables["capabilities"],
        "facts": tables["facts"],
        "options": tables["options"],
        "defects": _ordered("slug", {key: file.data for key, file in files.defects.items()}),
        "distributions": _ordered("name", {key: _distribution(files, key) for key in files.distributions}),
        "distro_series": sorted(
            series, key=lambda fact: (fact["distro"], fact["series"], fact["commit"], fact["from"])
        ),
        "not_fixes": tables["exceptions"].get("not_fixes", []),
        "cosmetic_reverts": tables["exceptions"].get("cosmetic_reverts", []),
    }


def _distribution(files: CatalogFiles, name: str) -> dict[str, Any]:
    """A distribution with the survey of its changelogs, where there is one."""
    survey = {"survey": files.surveys[name]} if name in files.surveys else {}
    return {**mapping(files.distributions[name].data), **survey}


def _ordered(key: str, entries: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries by the order that they ask for, then by name."""
    named = [{key: name, **_without_lint(entry)} for name, entry in entries.items()]
    return sorted(named, key=lambda entry: (entry.get("order", _LAST), entry[key]))


def _without_lint(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without what only the linter reads."""
    return {key: value for key, value in entry.items() if key not in ("lint", "unseen")}


def _range_data(entry: BranchRanges) -> dict[str, Any]:
    affected = [
        {"from": span.start} if span.fixed is None else {"from": span.start, "fixed": span.fixed}
        for span in entry.affected
    ]
    data: dict[str, Any] = {"branch": entry.branch, "affected": affected}
    if entry.surveyed_through is not None:
        data["surveyed_through"] = entry.surveyed_through
    return data


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    """Orders 4.9 before 4.10; commit ids begin with letters or digits and need an order only."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d{1,6})", text))


def _sorted(data: object) -> object:
    if isinstance(data, dict):
        return {key: _sorted(data[key]) for key in sorted(data, key=_natural)}
    return [_sorted(item) for item in data] if isinstance(data, list) else data
