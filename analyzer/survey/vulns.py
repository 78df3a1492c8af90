"""Surveys the repository of the kernel's CVE numbering authority: finds the first release of each branch with a fix.

A record ``cve/published/YEAR/CVE-….sha1`` names the fix in mainline, ``….dyad`` has a line for each branch:
``vulnerable version:its commit:fixed version:its commit``, with 0 for a side that does not exist. Without a dyad, the
fixed versions come from the record in CVE JSON 5. A missing row proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.libraries import parse_json
from tailcall_audit.analyzer.paths import Kind as FileKind
from tailcall_audit.analyzer.paths import kind_of
from tailcall_audit.analyzer.survey.types import Claim, Kind, State, Survey, SurveyError
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version
from tailcall_audit.probes.reading import open_file

__all__ = ["read_dyad", "survey_vulns"]

_MAX_BYTES = 1 << 20
_MAX_RECORDS = 200_000
_SHOWN = 100
_ID = re.compile(r"[0-9a-f]{40}", re.ASCII)
_NAME = re.compile(r"CVE-\d{4}-\d{4,9}", re.ASCII)


class _Fixed(NamedTuple):
    release: UpstreamVersion
    id: str | None


class _Texts:
    """Reads the texts of records. `refused` lists files that exist but cannot be read, with the reason."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.refused: list[str] = []

    def of(self, path: Path) -> str:
        """Returns the text of a record; empty if the file is missing or cannot be read."""
        try:
            kind = kind_of(path)
        except AuditError as error:
            return self._refuse(path, str(error))
        if kind is FileKind.MISSING:
            return self._refuse(path, "a link to nothing") if path.is_symlink() else ""
        if kind is not FileKind.FILE:
            return self._refuse(path, "not a regular file")
        try:
            with open_file(path) as file:
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            return self._refuse(path, error.strerror or str(error))
        if len(data) > _MAX_BYTES:
            return self._refuse(path, f"larger than {_MAX_BYTES >> 20} MiB, which no record is")
        return data.decode("utf-8", "replace")

    def _refuse(self, path: Path, why: str) -> str:
        self.refused.append(f"{path.relative_to(self._root)} left out: {why}")
        return ""


def read_dyad(text: str) -> Iterator[tuple[UpstreamVersion, str]]:
    """Yields the fixed version and its commit from every line of a dyad; lines of another form are left out."""
    for line in text.splitlines():
        fields = line.split(":")
        if line.startswith("#") or len(fields) != 4 or _ID.fullmatch(fields[3]) is None:
            continue
        try:
            yield parse_version(fields[2]), fields[3]
        except ValueError:
            continue


def _fixed_in_record(data: Any) -> Iterator[_Fixed]:  # noqa: ANN401 (JSON)
    """Yields the fixed versions of a record in CVE JSON 5. An entry reads "6.1.103, through 6.1.*, is unaffected"."""
    affected = data.get("containers", {}).get("cna", {}).get("affected", []) if isinstance(data, dict) else []
    for product in affected:
        for entry in product.get("versions", []):
            through = str(entry.get("lessThanOrEqual", ""))
            if entry.get("status") != "unaffected" or not (through == "*" or through.endswith(".*")):
                continue
            try:
                yield _Fixed(parse_version(str(entry.get("version"))), None)
            except ValueError:
                continue


def _rows(texts: _Texts, record: Path) -> Iterator[_Fixed]:
    """Yields the fixed versions from the files beside a ``.sha1``."""
    dyad = texts.of(record.with_suffix(".dyad"))
    if dyad:
        yield from (_Fixed(version, name) for version, name in read_dyad(dyad))
        return
    text = texts.of(record.with_suffix(".json"))
    try:
        yield from _fixed_in_record(parse_json(text.encode(), lambda _, words: ValueError(words)))
    except (ValueError, AttributeError, TypeError):
        return


def _records(root: Path, progress: Callable[[str], None]) -> Iterator[Path]:
    folder = root / "cve" / "published"
    if not folder.is_dir():
        raise SurveyError(f"{root}: no folder cve/published; give a clone of the CVE numbering authority's vulns.git")
    for count, path in enumerate(sorted(folder.glob("[0-9]*/CVE-*.sha1"))):
        if count >= _MAX_RECORDS:
            raise SurveyError(f"{folder}: more than {_MAX_RECORDS:,} records")
        if count % 1000 == 0:
            progress(f"{count:,} records")
        if _NAME.fullmatch(path.stem):
            yield path


def _few(refused: list[str]) -> tuple[str, ...]:
    """Returns the first reasons, and a line with the number of those left out."""
    more = len(refused) - _SHOWN
    return (*refused[:_SHOWN], *((f"and {more:,} more files left out",) if more > 0 else ()))


def _key(catalog: Catalog, fix: str) -> str | None:
    """Returns the commit of the catalogue that a full id names. The catalogue has only 12 digits of some."""
    commit = catalog.commits.get(fix[:12]) if _ID.fullmatch(fix) else None
    return commit.key if commit is not None and fix.startswith(commit.id) else None


def survey_vulns(
    catalog: Catalog, root: Path, name: str, date: str, progress: Callable[[str], None] = lambda _: None
) -> Survey:
    """Surveys a clone of vulns.git. `name` is the name of the source. Raises SurveyError if the folder is no such
    clone.
    """
    claims: dict[tuple[str, str], Claim] = {}
    texts = _Texts(root)
    for path in _records(root, progress):
        fixes = texts.of(path).split()
        key = _key(catalog, fixes[0]) if len(fixes) == 1 else None  # with two fixes, a row does not name its own
        for row in _rows(texts, path) if key is not None else ():
            # A row of mainline names the release, not the release candidate: the catalogue is more precise.
            if key is None or not row.release.sublevel:
                continue
            source = f"CNA {name} {path.stem}{'.dyad' if row.id else '.json'}"
            branch = row.release.branch
            claim = Claim(key, State.PRESENT_FROM, str(row.release), source, branch=branch, id=row.id)
            claims.setdefault((key, branch), claim)
    return Survey(
        Kind.VULNS, "vulns", f"the CVE records of {name}", date, {}, tuple(claims.values()), notes=_few(texts.refused)
    )
