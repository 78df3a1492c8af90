"""The package repositories that a user named once, in which builds are looked up afterwards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.libraries import parse_json
from tailcall_audit.probes.private_folder import PrivateFolder

__all__ = ["KnownRepository", "read_repositories", "remember"]

_FILE = "repositories.json"
_SCHEMA_VERSION = 1
_MAX_BYTES = 1 << 20
_MAX_REPOSITORIES = 200


class KnownRepository(NamedTuple):
    """A repository: the path or address that the user gave, and the distributions whose builds were seen in it (none:
    that is not known).
    """

    place: str
    distributions: tuple[str, ...]


def _parsed(raw: bytes) -> Iterator[KnownRepository]:
    """Yields what a file holds; raises ValueError if it is of another form."""
    data = parse_json(raw, lambda _, words: ValueError(words))
    if not isinstance(data, dict) or data.get("schema_version") != _SCHEMA_VERSION:
        raise ValueError(f"its schema version is not {_SCHEMA_VERSION}")
    for entry in data["repositories"][:_MAX_REPOSITORIES]:
        place, distributions = entry["place"], entry["distributions"]
        if not isinstance(place, str) or not all(isinstance(name, str) for name in distributions):
            raise ValueError("a repository of another form")
        yield KnownRepository(place, tuple(distributions))


def read_repositories(folder: str, refused: Callable[[str], None]) -> tuple[KnownRepository, ...]:
    """Returns the repositories that are kept in a folder; `refused` is called with the reason where the file is not
    believed.
    """
    path = os.path.join(folder, _FILE)
    try:
        raw = PrivateFolder(folder).read(_FILE, _MAX_BYTES)
    except FileNotFoundError:
        return ()
    except OSError as error:
        refused(f"{path}: cannot be read: {error.strerror or error}")
        return ()
    if raw is None:
        refused(f"{path}: not used: other users can write it, or it is too large")
        return ()
    try:
        return tuple(_parsed(raw))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        refused(f"{path}: not a list of repositories: {error}")
        return ()


def remember(folder: str, repository: KnownRepository) -> None:
    """Adds a repository to those in a folder, or replaces the one of its place. Raises AuditError."""
    kept = [item for item in read_repositories(folder, lambda _: None) if item.place != repository.place]
    entries = [item._asdict() for item in (*kept, repository)][-_MAX_REPOSITORIES:]
    data = json.dumps({"schema_version": _SCHEMA_VERSION, "repositories": entries}, indent=1) + "\n"
    try:
        PrivateFolder(folder).write(_FILE, data.encode())
    except OSError as error:
        raise AuditError(f"{os.path.join(folder, _FILE)}: cannot be written: {error.strerror or error}") from error
