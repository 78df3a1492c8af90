"""Keeps surveys in a checkout of the project: in `catalog/surveys/`, with what audits read of them in a file beside
`commits.json`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.load import default_catalog_path
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.survey.shipped import BRANCHES, PACKAGES, build_branches, build_shipped
from tailcall_audit.analyzer.survey.store import Store
from tailcall_audit.analyzer.survey.types import Kind, Survey, SurveyError
from tailcall_audit.probes.reading import read_file
from tailcall_audit.probes.writing import write_file

__all__ = ["Checkout", "SharedFolder", "find_checkout"]


class SharedFolder:
    """The files of a folder that git keeps. Unlike in a private folder, a file that others may write to is read, too, and
    no mode is changed. Each method raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, limit: int) -> bytes:
        """Returns the content of a regular file of at most `limit` bytes."""
        return read_file(self.path / name, limit)

    def write(self, name: str, data: bytes) -> None:
        """Writes a file completely or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_file(self.path / name, data)

    def names(self) -> list[str]:
        """Returns the names of all files."""
        return os.listdir(self.path)

    def remove(self, name: str) -> None:
        """Removes a file; does nothing if it does not exist."""
        (self.path / name).unlink(missing_ok=True)


class _Shipped(NamedTuple):
    """A folder of surveys below `catalog/`, the file that is built of it, and how."""

    folder: Path
    file: str
    build: Callable[[Path, Catalog, Survey | None, str | None], bytes]


_PACKAGES = _Shipped(PACKAGES, "surveys.json", build_shipped)
_BRANCHES = _Shipped(BRANCHES, "branches.json", build_branches)


class Checkout:
    """The surveys of a checkout. `root` has `catalog/` and `commits.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def stores(self) -> tuple[Store, ...]:
        """Returns the surveys of packages and those of branches."""
        return tuple(self._store(shipped) for shipped in (_PACKAGES, _BRANCHES))

    def write(self, survey: Survey, catalog: Catalog) -> tuple[Path, Path]:
        """Writes a survey and the file that audits read, and returns both paths.

        Raises SurveyError if another survey there is broken (then nothing is written), or as `Store.write` does.
        """
        shipped = _PACKAGES if survey.kind is Kind.PACKAGES else _BRANCHES
        content = shipped.build(self.root / "catalog", catalog, survey, None)
        path = self._store(shipped).write(survey)
        return path, self._write_built(shipped, content)

    def forget(self, name: str, catalog: Catalog) -> tuple[Path, Path]:
        """Removes a survey, writes what audits read anew, and returns both paths. Raises SurveyError."""
        for shipped in (_PACKAGES, _BRANCHES):
            store = self._store(shipped)
            if name in store.names():
                content = shipped.build(self.root / "catalog", catalog, None, name)
                store.forget(name)
                return store.folder / f"{name}.json", self._write_built(shipped, content)
        raise SurveyError(f"no survey {name!r} in {self.root / 'catalog/surveys'}")

    def _store(self, shipped: _Shipped) -> Store:
        folder = self.root / "catalog" / shipped.folder
        return Store(folder, SharedFolder(folder))

    def _write_built(self, shipped: _Shipped, content: bytes) -> Path:
        path = self.root / shipped.file
        try:
            write_file(path, content)
        except OSError as error:
            raise SurveyError(f"{path}: cannot be written: {error.strerror or error}") from error
        return path


def find_checkout() -> Checkout | None:
    """Returns the checkout that the tool runs from, if the current directory is in it and it may be written to; None
    otherwise.
    """
    root = Path(default_catalog_path()).parent
    surveys = root / "catalog" / "surveys"
    try:
        here = Path.cwd().resolve()
    except OSError:  # the current directory was removed
        return None
    inside = here.is_relative_to(root.resolve())
    return Checkout(root) if inside and surveys.is_dir() and os.access(surveys, os.W_OK) else None
