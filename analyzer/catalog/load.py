"""Loads `commits.json` into the types of `tailcall_audit.analyzer.catalog.types`.

The tests validate the shipped file against `commits.schema.json`; a file of the user is validated when it is loaded.
Importing a schema validator costs more than the whole audit of a version string.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import tailcall_audit
from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.check import MAX_BYTES, CatalogError, check_names, validate
from tailcall_audit.analyzer.catalog.commit import BranchFact, Change, Commit, Posting, Relation, Signature
from tailcall_audit.analyzer.catalog.expression import leaves, parse_expression
from tailcall_audit.analyzer.catalog.load_distribution import load_distribution
from tailcall_audit.analyzer.catalog.option import load_option
from tailcall_audit.analyzer.catalog.types import (
    CAPABILITY_PREFIX,
    AffectedRange,
    Branch,
    BranchRanges,
    Capability,
    Catalog,
    Defect,
    NotAFix,
    SeriesFact,
    TraceSign,
)
from tailcall_audit.analyzer.libraries import parse_json
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version
from tailcall_audit.probes.reading import open_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "build_catalog",
    "default_catalog_path",
    "load_catalog",
    "load_series_fact",
    "optional_version",
    "shipped_catalog",
]


def default_catalog_path() -> str:
    """Returns the path of `commits.json`: inside the package in a wheel, beside it in a checkout."""
    package = os.path.dirname(os.path.abspath(tailcall_audit.__file__))
    packaged = os.path.join(package, "commits.json")
    return packaged if os.path.isfile(packaged) else os.path.join(os.path.dirname(package), "commits.json")


@lru_cache(maxsize=4096)
def optional_version(text: str | None) -> UpstreamVersion | None:
    """Returns the version that a text names; None for None."""
    return None if text is None else parse_version(text)


def _branch_fact(branch: str, data: dict[str, Any]) -> BranchFact:
    return BranchFact(
        branch=branch,
        backported="absent_through" not in data,
        release=optional_version(data.get("backported")),
        present_by=optional_version(data.get("present_by")),
        surveyed_through=optional_version(data.get("absent_through")),
        id=data.get("id"),
        source=data["source"],
        unverified=data.get("unverified"),
    )


def _commit(key: str, data: dict[str, Any]) -> Commit:
    return Commit(
        key=key,
        id=data["id"],
        subject=data["subject"],
        first_release=parse_version(data["first_release"]),
        is_feature=data["kind"] == "feature",
        files=tuple(data["files"]),
        branches={branch: _branch_fact(branch, fact) for branch, fact in data.get("branches", {}).items()},
        source=data["source"],
        unverified=data.get("unverified"),
        aliases=tuple(data.get("aliases", ())),
        only_on_branch=data.get("only_on_branch"),
        signature_data=Signature(data.get("signature", ())),
        btf=data.get("btf"),
        first_posted=Posting(**data["first_posted"]) if "first_posted" in data else None,
        emulation=data.get("emulation"),
        code=data.get("code"),
        needs=_relations(data, "needs"),
        follow_ups=_relations(data, "follow_ups"),
        changes=tuple(_change(entry) for entry in data.get("changes", ())),
    )


def _change(entry: dict[str, Any]) -> Change:
    return Change(
        entry["what"],
        entry.get("errno"),
        entry.get("words"),
        entry["source"],
        parse_expression(entry["refuses"]) if "refuses" in entry else None,
        entry.get("until"),
    )


def _relations(data: dict[str, Any], key: str) -> tuple[Relation, ...]:
    return tuple(Relation(entry["commit"], entry["why"], entry["source"]) for entry in data.get(key, ()))


def _capability(key: str, data: dict[str, Any]) -> Capability:
    entries = data["architectures"]
    return Capability(
        key=CAPABILITY_PREFIX + key,
        title=data["title"],
        why=data["why"],
        settle=data["settle"],
        present_from=_versions(entries, "present_from"),
        absent_through=_versions(entries, "absent_through"),
        signature_data={name: Signature(entry["signature"]) for name, entry in entries.items() if "signature" in entry},
        sources={name: entry["source"] for name, entry in entries.items()},
    )


def _versions(entries: dict[str, Any], key: str) -> dict[str, UpstreamVersion]:
    return {name: parse_version(entry[key]) for name, entry in entries.items() if key in entry}


def _ranges(data: dict[str, Any]) -> tuple[BranchRanges, ...]:
    return tuple(
        BranchRanges(
            entry["branch"],
            tuple(AffectedRange(item["from"], item.get("fixed")) for item in entry["affected"]),
            entry.get("surveyed_through"),
        )
        for entry in data.get("ranges", ())
    )


def _defect(data: dict[str, Any]) -> Defect:
    reachable = parse_expression(data["reachable"])
    fixed = parse_expression(data["fixed"]) if "fixed" in data else None
    names = tuple(dict.fromkeys((*leaves(reachable), *leaves(fixed))))
    return Defect(
        slug=data["slug"],
        pitfall=data.get("pitfall"),
        title=data["title"],
        mechanism=data["mechanism"],
        consequence=data["consequence"],
        severity=data["severity"],
        architectures=tuple(name for name in data["architectures"] if name != "*"),
        config=parse_expression(data["config"]),
        reachable=reachable,
        fixed=fixed,
        cves=tuple(data.get("cves", ())),
        references=tuple(data.get("references", ())),
        detection=data["detection"],
        hazard=data.get("hazard"),
        notes=tuple(data.get("notes", ())),
        ranges=_ranges(data),
        unverified=data.get("unverified"),
        unproven=frozenset(data.get("unproven", ())),
        commits=tuple(name for name in names if not name.startswith(CAPABILITY_PREFIX)),
        capabilities=tuple(name for name in names if name.startswith(CAPABILITY_PREFIX)),
        exposure=parse_expression(data["exposure"]) if "exposure" in data else None,
        traces=tuple(
            TraceSign(tuple(item["kinds"]), tuple(item.get("at", ())), tuple(item.get("through", ())), item["source"])
            for item in data.get("trace", ())
        ),
    )


def load_series_fact(data: dict[str, Any], basis: Basis | None = None) -> SeriesFact:
    """Returns a fact about builds of a distribution; `basis` is the survey that it is from, if it is from one."""
    return SeriesFact(
        data["distro"],
        data["series"],
        data["base"],
        data["commit"],
        data["presence"] == "present",
        data["from"],
        data.get("exact", False),
        data["source"],
        data.get("note"),
        basis,
        data.get("rebuilder"),
    )


def _not_fix(data: dict[str, Any]) -> NotAFix:
    return NotAFix(data["subject"], data["commit"], data["reason"], data["source"])


def _branch(name: str, data: dict[str, Any]) -> Branch:
    return Branch(
        name, data.get("released"), optional_version(data.get("last")), data.get("ended"), data.get("mainline")
    )


def build_catalog(data: dict[str, Any], raw: bytes, path: str) -> Catalog:
    """Builds the types from valid data; `raw` and `path` are where it came from. Raises CatalogError on names that lead
    nowhere.
    """
    catalog = Catalog(
        date=data["date"],
        raw=raw,
        path=path,
        newest_mainline=parse_version(data["newest_mainline"]),
        commits={key: _commit(key, entry) for key, entry in data["commits"].items()},
        capabilities={CAPABILITY_PREFIX + key: _capability(key, entry) for key, entry in data["capabilities"].items()},
        defects=tuple(_defect(entry) for entry in data["defects"]),
        series=tuple(load_series_fact(entry) for entry in data["distro_series"]),
        branches={name: _branch(name, entry) for name, entry in data["branches"]["entries"].items()},
        sources=data["sources"],
        not_fixes=tuple(_not_fix(entry) for entry in data["not_fixes"]),
        cosmetic_reverts=tuple(_not_fix(entry) for entry in data["cosmetic_reverts"]),
        distributions=tuple(load_distribution(entry) for entry in data.get("distributions", ())),
        facts=data.get("facts", {}),
        options=tuple(load_option(entry) for entry in data.get("options", ())),
    )
    check_names(catalog)
    return catalog


@lru_cache(maxsize=1)
def shipped_catalog() -> Catalog:
    """Returns the shipped catalogue, loaded once; raises CatalogError as `load_catalog` does."""
    return load_catalog()


def load_catalog(path: str | Path | None = None) -> Catalog:
    """Loads the shipped catalogue, or the one at `path`, which is validated first.

    Raises CatalogError when the file cannot be read, is no JSON or not valid.
    """
    place = default_catalog_path() if path is None else path
    try:
        with open_file(place) as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CatalogError(f"{place}: cannot read the catalogue: {why}") from error
    if len(raw) > MAX_BYTES:
        raise CatalogError(f"{place}: larger than {MAX_BYTES >> 20} MiB, which no catalogue is")
    data = parse_json(raw, lambda where, words: CatalogError(f"{place}{where}: not JSON: {words}"))
    if path is not None:
        validate(data, str(place))
    if not isinstance(data, dict):
        raise CatalogError(f"{place}: not a catalogue: its JSON is no object")
    try:
        return build_catalog(data, raw, str(place))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CatalogError(f"{place}: not a catalogue: {error}") from error
