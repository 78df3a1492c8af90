"""Reads and validates the folder `catalog/`, a fact a file, and reports each fault with file and line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tailcall_audit.analyzer.catalog.check import CatalogError, schema_path
from tailcall_audit.analyzer.catalog.types import CAPABILITY_PREFIX
from tailcall_audit.analyzer.catalog.yaml_file import Complaint, Data, Place, YamlFile, read_yaml
from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.libraries import jsonschema_errors, parse_json
from tailcall_audit.analyzer.paths import check_file
from tailcall_audit.probes.reading import open_file, read_file

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

__all__ = ["CatalogFiles", "expression_names", "mapping", "mappings", "named_facts", "read_catalog_folder"]

_MAX_SURVEY = 64 << 20
# A folder has one thing a file, and the name of the file is the name of the thing.
_FOLDERS = {"commits": "commit", "defects": "defect", "distributions": "distribution", "series": "series"}
_FILES = {
    "branches": "branches_file",
    "capabilities": "capabilities",
    "exceptions": "exceptions_file",
    "facts": "facts",
    "options": "options",
    "sources": "sources",
}
_MAX_BYTES = 8 << 20
_MAX_FILES = 10_000
# What the builder writes, and what the name of the file says, by the definition in the schema.
_DERIVED: dict[str, Callable[[str], dict[str, Data]]] = {
    "defect": lambda name: {"slug": name, "ranges": [{"branch": "mainline", "affected": []}]},
    "distribution": lambda name: {"name": name},
}


class CatalogFiles(NamedTuple):
    """The files of a folder by the names of their things, and all complaints about them."""

    root: Path
    commits: dict[str, YamlFile]
    defects: dict[str, YamlFile]
    distributions: dict[str, YamlFile]
    series: dict[str, YamlFile]
    surveys: dict[str, dict[str, Any]]
    tables: dict[str, YamlFile]
    complaints: tuple[Complaint, ...]


def read_catalog_folder(root: Path) -> CatalogFiles:
    """Reads every file below `root`. Raises CatalogError when PyYAML is not installed."""
    complaints: list[Complaint] = []
    folders: dict[str, dict[str, YamlFile]] = {}
    for folder, definition in _FOLDERS.items():
        folders[folder] = {
            path.stem: _checked(path, definition, complaints) for path in sorted((root / folder).glob("*.yaml"))
        }
    tables = {name: _checked(root / f"{name}.yaml", definition, complaints) for name, definition in _FILES.items()}
    surveys = {path.stem: path for path in sorted((root / "surveys").glob("*.json"))}
    known = {file.path for group in (*folders.values(), tables) for file in group.values()}
    # Surveys of packages and branches have a schema and a digest of their own, which `tailcall_audit.analyzer.survey` checks.
    checked = {path for folder in ("packages", "stable") for path in (root / "surveys" / folder).glob("*.json")}
    complaints += _strangers(root, known | set(surveys.values()) | checked)
    read = {name: _survey(path, folders["distributions"], complaints) for name, path in surveys.items()}
    if not complaints:
        complaints += _dangling(folders, tables)
    return CatalogFiles(
        root, **folders, surveys=read, tables=tables, complaints=tuple(sorted(complaints, key=_reading_order))
    )


def _survey(path: Path, distributions: dict[str, YamlFile], complaints: list[Complaint]) -> dict[str, Any]:
    """Returns a survey of a distribution, which a script wrote; every fault is a complaint."""
    try:
        check_file(path, "a survey is one")
        with open_file(path) as file:
            data = parse_json(file.read(_MAX_SURVEY), lambda where, words: CatalogError(f"{path}{where}: {words}"))
    except (OSError, AuditError) as error:
        complaints.append(Complaint("wrong-value", path, 1, f"not a survey: {error}"))
        return {}
    if path.stem not in distributions:
        complaints.append(Complaint("wrong-name", path, 1, f"there is no distributions/{path.stem}.yaml"))
    try:
        with jsonschema_errors(CatalogError):
            for fault in _validator("survey").iter_errors(data):
                where = ".".join(map(str, fault.absolute_path))
                complaints.append(Complaint("wrong-value", path, 1, _shortened(f"{where}: {fault.message}")))
    except CatalogError as error:
        complaints.append(Complaint("wrong-value", path, 1, f"not a survey: {error}"))
    return data if isinstance(data, dict) else {}


def _reading_order(complaint: Complaint) -> tuple[Path, int, str]:
    return complaint.path, complaint.line, complaint.message


def _strangers(root: Path, known: set[Path]) -> Iterator[Complaint]:
    for count, path in enumerate(root.rglob("*")):
        if count >= _MAX_FILES:
            yield Complaint("unknown-file", root, 1, f"more than {_MAX_FILES:,} files: not the folder of a catalogue")
            return
        if path.is_file() and path not in known and path.suffix != ".md":
            yield Complaint("unknown-file", path, 1, "no part of the catalogue has this name: see docs/catalog.md")


def _checked(path: Path, definition: str, complaints: list[Complaint]) -> YamlFile:
    file = read_yaml(path)
    complaints += file.complaints
    if not file.complaints:
        complaints += _invalid(file, definition)
    return file


@lru_cache
def _validator(definition: str) -> Draft202012Validator:
    import jsonschema

    schema = json.loads(read_file(schema_path(), _MAX_BYTES))
    return jsonschema.Draft202012Validator({"$defs": schema["$defs"], "$ref": f"#/$defs/{definition}"})


def _invalid(file: YamlFile, definition: str) -> Iterator[Complaint]:
    data = file.data
    if isinstance(data, dict) and definition in _DERIVED:
        derived = _DERIVED[definition](file.path.stem)
        for key in derived:
            if key in data:
                yield Complaint(
                    "unknown-key", file.path, file.line((key,)), f"{key} is written by the builder: leave it out"
                )
        data = {**derived, **data}
    for error in _validator(definition).iter_errors(data):
        yield from _translated(file, error)


def _translated(file: YamlFile, error: ValidationError) -> Iterator[Complaint]:
    """Yields a fault that the schema found, as complaints by their kind."""
    from jsonschema.exceptions import best_match

    asked: Any = error.validator_value
    if error.validator == "additionalProperties" and asked is False:
        yield from _unknown_keys(file, error)
        return
    message = None
    if error.validator in ("oneOf", "anyOf"):
        keys = [key for part in asked for key in part.get("required", ())]
        inner = best_match(error.context or ())
        if keys:
            message = f"needs exactly one of {', '.join(keys)}"
        elif inner is not None:
            error = inner
    place: Place = tuple(error.absolute_path)
    where = ".".join(map(str, place))
    name = "missing-key" if error.validator in ("required", "oneOf") else "wrong-value"
    message = _shortened(message or error.message)
    yield Complaint(name, file.path, file.line(place), f"{where}: {message}" if where else message)


def _unknown_keys(file: YamlFile, error: ValidationError) -> Iterator[Complaint]:
    schema: Any = error.schema
    instance: Any = error.instance
    known = schema.get("properties", {})
    for key in sorted(instance.keys() - known.keys()):
        message = f"{key} is no key here; there are {', '.join(sorted(known))}"
        yield Complaint("unknown-key", file.path, file.line((*error.absolute_path, key)), message)


def _shortened(message: str) -> str:
    return message if len(message) < 200 else message[:200] + " …"


def expression_names(data: Data, place: Place) -> Iterator[tuple[str, Place]]:
    """Yields the names in an expression with their places."""
    if isinstance(data, str):
        yield data, place
    elif isinstance(data, dict):
        for key, part in data.items():
            yield from expression_names(part, (*place, key))
    elif isinstance(data, list):
        for index, part in enumerate(data):
            yield from expression_names(part, (*place, index))


def _named_commits(
    folders: dict[str, dict[str, YamlFile]], tables: dict[str, YamlFile]
) -> Iterator[tuple[YamlFile, str, Place]]:
    """Yields every name of a commit or capability outside of its own file."""
    for file in folders["defects"].values():
        defect = mapping(file.data)
        for key in ("reachable", "fixed"):
            for name, place in expression_names(defect.get(key, []), (key,)):
                yield file, name, place
    for file in folders["series"].values():
        for index, fact in enumerate(mappings(file.data)):
            yield file, str(fact["commit"]), (index, "commit")
    for file in folders["commits"].values():
        for name, place in _other_commits(mapping(file.data)):
            yield file, name, place
    exceptions = tables["exceptions"]
    for key, entries in mapping(exceptions.data).items():
        for index, entry in enumerate(mappings(entries)):
            yield exceptions, str(entry["commit"]), (key, index, "commit")


def _other_commits(commit: dict[str, Any]) -> Iterator[tuple[str, Place]]:
    """Yields every other commit that a commit's file names, with its place."""
    for key in ("needs", "follow_ups"):
        for index, entry in enumerate(commit.get(key, [])):
            yield str(entry["commit"]), (key, index, "commit")
    for index, entry in enumerate(commit.get("changes", [])):
        if "until" in entry:
            yield str(entry["until"]), ("changes", index, "until")


def named_facts(defects: dict[str, YamlFile], commits: dict[str, YamlFile]) -> Iterator[tuple[YamlFile, str, Place]]:
    """Yields every fact that a condition names, with its place."""
    for file in defects.values():
        for name, place in expression_names(mapping(file.data).get("exposure", []), ("exposure",)):
            yield file, name, place
    for file in commits.values():
        for index, entry in enumerate(mapping(file.data).get("changes", [])):
            for name, place in expression_names(entry.get("refuses", []), ("changes", index, "refuses")):
                yield file, name, place


def mapping(data: Data) -> dict[str, Any]:
    """Returns data that the schema has found to be a mapping."""
    assert isinstance(data, dict)
    return data


def mappings(data: Data) -> list[dict[str, Any]]:
    """Returns data that the schema has found to be a list of mappings."""
    assert isinstance(data, list)
    return data  # type: ignore[return-value]


def _dangling(folders: dict[str, dict[str, YamlFile]], tables: dict[str, YamlFile]) -> Iterator[Complaint]:
    """Yields complaints about names that lead nowhere. The files are valid by the schema at this point."""
    capabilities = {CAPABILITY_PREFIX + name for name in mapping(tables["capabilities"].data)}
    for file, name, place in _named_commits(folders, tables):
        if name.startswith(CAPABILITY_PREFIX) and name not in capabilities:
            message = f"{name} is not in capabilities.yaml"
            yield Complaint("unknown-capability", file.path, file.line(place), message)
        elif not name.startswith(CAPABILITY_PREFIX) and name not in folders["commits"]:
            message = f"there is no commits/{name}.yaml"
            yield Complaint("unknown-commit", file.path, file.line(place), message)
    known = mapping(tables["facts"].data)
    for file, name, place in named_facts(folders["defects"], folders["commits"]):
        if name not in known:
            yield Complaint("unknown-fact", file.path, file.line(place), f"{name} is not in facts.yaml")
    for key, file in folders["commits"].items():
        identity = mapping(file.data)["id"]
        if len(key) != 12 or not identity.startswith(key):
            message = f"the id {identity} does not begin with the file's name; rename the file to {identity[:12]}.yaml"
            yield Complaint("wrong-name", file.path, file.line(("id",)), message)
