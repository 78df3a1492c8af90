"""Stores surveys as files: JSON with a schema version and a digest, in a folder that only the user can write to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from tailcall_audit.analyzer.libraries import parse_json
from tailcall_audit.analyzer.survey.types import (
    MAINLINE,
    MAX_WORD,
    NAME,
    NAME_RULE,
    Claim,
    Kind,
    Series,
    State,
    Survey,
    SurveyError,
)
from tailcall_audit.analyzer.version import build_key, parse_version
from tailcall_audit.probes.private_folder import PrivateFolder

__all__ = ["SCHEMA_VERSION", "Store", "as_data", "digest_of", "from_bytes", "to_bytes"]

SCHEMA_VERSION = 1
_MAX_BYTES = 32 << 20
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{12}", re.ASCII)
_BRANCH = re.compile(r"\d{1,3}\.\d{1,3}", re.ASCII)
_BUILD = re.compile(r"\d[\w.+~:%-]*", re.ASCII)
_SUFFIX = ".json"


def _claim_data(claim: Claim) -> dict[str, str]:
    data = claim._asdict() | {"state": claim.state.value}
    return {name: value for name, value in data.items() if value is not None}


def as_data(survey: Survey) -> dict[str, Any]:
    """Returns a survey as JSON data, as ``survey --json`` prints it."""
    return {
        "kind": survey.kind.value,
        "name": survey.name,
        "source": survey.source,
        "date": survey.date,
        "reach": dict(survey.reach),
        "claims": [_claim_data(claim) for claim in survey.claims],
        "conflicts": [conflict._asdict() for conflict in survey.conflicts],
        "notes": list(survey.notes),
        **({"excerpt": True} if survey.excerpt else {}),
    }


def digest_of(data: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a survey's data without its digest, as compact JSON with sorted keys."""
    kept = {name: value for name, value in data.items() if name != "digest"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_bytes(survey: Survey) -> bytes:
    """Returns the content of a survey's file. Conflicts are left out: no fact follows from them."""
    data = as_data(survey) | {"schema_version": SCHEMA_VERSION}
    del data["conflicts"]
    return (json.dumps(data | {"digest": digest_of(data)}, indent=1, sort_keys=True) + "\n").encode()


def _word(data: Mapping[str, Any], name: str, form: re.Pattern[str] | None = None) -> str:
    value = data[name]
    if not isinstance(value, str) or len(value) > MAX_WORD or (form is not None and form.fullmatch(value) is None):
        raise ValueError(f"{name} is {str(value)[:60]!r}")
    return value


def _claim(data: Mapping[str, Any]) -> Claim:
    if not isinstance(data, dict) or not data.keys() <= set(Claim._fields):
        raise ValueError("a claim of another form")
    optional = {name: _word(data, name) for name in ("branch", "series", "id", "rebuilder") if name in data}
    if len(optional.keys() & {"branch", "series"}) != 1:
        raise ValueError("a claim without a branch or series, or with both")
    state = State(_word(data, "state"))
    return Claim(_word(data, "commit", _COMMIT), state, _word(data, "release"), _word(data, "source"), **optional)


def _check_release(where: str, release: str) -> None:
    """Raises ValueError if a text is no release of a branch, or no version in a series."""
    if "/" in where:
        Series.from_text(where)
        if _BUILD.fullmatch(release) is None:
            raise ValueError(f"{release[:60]!r} is no version of a package")
    elif where != MAINLINE and _BRANCH.fullmatch(where) is None:
        raise ValueError(f"{where[:60]!r} is no branch")
    else:
        parse_version(release)


def from_bytes(raw: bytes, where: str) -> Survey:
    """Returns the survey in a file. Raises SurveyError if it is broken, has a newer schema version, or was changed."""
    data = parse_json(raw, lambda _, words: SurveyError(f"{where}: not a survey: {words}"))
    if not isinstance(data, dict):
        raise SurveyError(f"{where}: not a survey: its JSON is no object")
    version = data.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SurveyError(
            f"{where}: a survey of schema version {version}, and this tool reads {SCHEMA_VERSION}: update it"
        )
    if version != SCHEMA_VERSION or data.get("digest") != digest_of(data):
        raise SurveyError(f"{where}: not a survey, or changed since it was written (its digest differs)")
    try:
        reach = data["reach"]
        if not isinstance(reach, dict) or not all(isinstance(value, str) for value in reach.values()):
            raise ValueError("reach is no object of releases")
        claims = tuple(_claim(item) for item in data["claims"])
        for name, release in (*reach.items(), *((claim.where, claim.release) for claim in claims)):
            _check_release(name, release)
        return Survey(
            Kind(_word(data, "kind")),
            _word(data, "name", NAME),
            _word(data, "source"),
            _word(data, "date", _DAY),
            reach,
            claims,
            notes=tuple(str(note) for note in data["notes"]),
            excerpt=data.get("excerpt", False) is not False,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SurveyError(f"{where}: not a survey: {error}") from error


def _says_more(kept: Survey, survey: Survey) -> str | None:
    """Returns why a stored survey covers more than a new one of the same name; None if it does not."""
    ranks = list(Kind)
    if ranks.index(kept.kind) < ranks.index(survey.kind):
        return f"it is a {kept.kind.value} survey, which is stronger than one of {survey.kind.value}"
    missing = [where for where in kept.reach if where not in survey.reach]
    if missing:
        return f"it has {', '.join(missing[:5])}, which the new one lacks"
    for where, release in kept.reach.items():
        if build_key(survey.reach[where]) < build_key(release):
            return f"it reaches {release} in {where}, and this one {survey.reach[where]}"
    return None


class _Files(Protocol):
    """The files of a folder; each method raises OSError."""

    def read(self, name: str, limit: int) -> bytes | None: ...
    def write(self, name: str, data: bytes) -> None: ...
    def names(self) -> list[str]: ...
    def remove(self, name: str) -> None: ...


class Store:
    """The surveys in a folder. Files that another user could have written are refused, unless `files` accept them."""

    def __init__(self, folder: Path, files: _Files | None = None) -> None:
        self.folder = folder
        self._files: _Files = PrivateFolder(folder) if files is None else files

    def names(self) -> list[str]:
        """Returns the sorted names of the surveys; an empty list if the folder does not exist. Raises SurveyError if
        the folder is not the user's.
        """
        return [name for name in self._names() if NAME.fullmatch(name)]

    def _names(self) -> list[str]:
        """Returns the sorted names of all JSON files; raises as `names` does."""
        try:
            return sorted(name.removesuffix(_SUFFIX) for name in self._files.names() if name.endswith(_SUFFIX))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SurveyError(f"{self.folder}: not used: {error.strerror or error}") from error

    def read(self, name: str) -> Survey:
        """Returns a survey. Raises SurveyError if it is missing, cannot be read, or may be another user's."""
        path = self.folder / f"{name}{_SUFFIX}"
        if NAME.fullmatch(name) is None:
            raise SurveyError(f"{self.folder}: {name!r} is no name of a survey: {NAME_RULE}")
        try:
            raw = self._files.read(path.name, _MAX_BYTES)
        except FileNotFoundError:
            raise SurveyError(f"no survey {name!r} in {self.folder}; `tailcall-audit survey list` shows them") from None
        except OSError as error:
            raise SurveyError(f"{path}: cannot be read: {error.strerror or error}") from error
        if raw is None:
            raise SurveyError(
                f"{path}: not used: it is no file, other users can write it, or it has more than {_MAX_BYTES >> 20} MiB"
            )
        return from_bytes(raw, str(path))._replace(name=name)  # a copy goes by the name of its file

    def readable(self, refused: Callable[[str], None]) -> Iterator[Survey]:
        """Yields every survey that can be read. Calls `refused` with the reason for each of the others."""
        try:
            names = self._names()
        except SurveyError as error:
            refused(str(error))
            return
        for name in names:
            try:
                yield self.read(name)
            except SurveyError as error:
                refused(str(error))

    def write(self, survey: Survey) -> Path:
        """Writes a survey under its name, completely or not at all, and returns the path.

        Raises SurveyError if writing fails, or if the stored survey of that name covers more: it is of a stronger kind,
        has branches or series that this one lacks, or reaches further.
        """
        path = self.folder / f"{survey.name}{_SUFFIX}"
        if NAME.fullmatch(survey.name) is None:
            raise SurveyError(f"{survey.name!r} is no name of a survey: {NAME_RULE}")
        self._check_replaced(survey)
        try:
            self._files.write(path.name, to_bytes(survey))
        except OSError as error:
            raise SurveyError(f"{path}: cannot be written: {error.strerror or error}") from error
        return path

    def _check_replaced(self, survey: Survey) -> None:
        """Raises SurveyError if the stored survey covers more. One that cannot be read may be replaced."""
        if survey.name not in self.names():
            return
        try:
            kept = self.read(survey.name)
        except SurveyError:
            return
        why = _says_more(kept, survey)
        if why is not None:
            raise SurveyError(
                f"{self.folder / survey.name}{_SUFFIX} stays as it is: {why}; keep this one beside it with --name, or run"
                f" `tailcall-audit survey forget {survey.name}` first"
            )

    def forget(self, name: str) -> None:
        """Removes a survey. Raises SurveyError if there is none of that name, or it cannot be removed."""
        if name not in self.names():
            raise SurveyError(f"no survey {name!r} in {self.folder}; `tailcall-audit survey list` shows them")
        try:
            self._files.remove(f"{name}{_SUFFIX}")
        except OSError as error:
            raise SurveyError(f"{self.folder / name}: cannot be removed: {error.strerror or error}") from error
