"""Every kernel in a repository of packages, from its indexes: RPM's repodata or Debian's Packages files.

The content of a file decides what it is. A folder may hold repodata, a Packages file, the ``dists`` of a mirror, or
what apt keeps in /var/lib/apt/lists; an address may name any of these files, or the folder of one, or a suite with its
Release file.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.kernelfiles.compression import BrokenDataError, decompress
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, PackageError
from tailcall_audit.analyzer.kernelfiles.packages_index import (
    Unreadable,
    is_packages_index,
    read_packages_index,
    sort_kernels,
)
from tailcall_audit.analyzer.kernelfiles.repodata import find_other, read_other
from tailcall_audit.analyzer.kernelfiles.rpm_version import rpm_key
from tailcall_audit.analyzer.model import AuditError, Skipped
from tailcall_audit.analyzer.paths import Kind, expanded, is_file, kind_of
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.web.fetch import Fetcher, FetchError, is_url
from tailcall_audit.probes.reading import open_file

__all__ = ["Repository", "open_subjects", "read_repository"]

_MAX_INDEX = 1 << 20
_MAX_FETCHED = 512 << 20
_MAX_RELEASE = 4 << 20
_MAX_INDEXES = 200
_PACKAGES = ("Packages.xz", "Packages.gz", "Packages.zst", "Packages.lz4", "Packages.bz2", "Packages")
_ENDINGS = frozenset(name.removeprefix("Packages") for name in _PACKAGES if name != "Packages")
_RELEASE_LINE = re.compile(r"^ ([0-9a-f]{64}) +\d+ +(\S+/binary-[a-z0-9-]+)/(Packages(?:\.\w+)?)$", re.MULTILINE)
_REMEDY = (
    "name the folder above repodata, a repomd.xml, a Packages file, or a suite (…/dists/bookworm);"
    " or mirror it and name the folder"
)


class Repository(NamedTuple):
    """The kernels of a repository, oldest first in each name and architecture; `skipped` says why rows are not among
    them.
    """

    place: str
    kernels: tuple[KernelPackage, ...]
    notes: tuple[str, ...]
    skipped: tuple[Unreadable, ...] = ()


class _Index(NamedTuple):
    """An index to read; `digest` is its SHA-256, where a Release file names it."""

    place: str
    digest: str | None = None


class _Reader:
    """Reads the files of one repository, on disk or on the web."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self.notes: list[str] = []

    def read(self, place: str, limit: int) -> bytes:
        """Returns the content of a file; raises PackageError or FetchError."""
        if is_url(place):
            fetched = self._fetcher.get(place, limit, _REMEDY)
            self.notes += [fetched.note] if fetched.note else []
            return fetched.data
        try:
            with open_file(place) as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise PackageError(f"{place}: cannot read: {error.strerror or error}") from error
        if len(data) > limit:
            raise PackageError(f"{place}: larger than {limit >> 20} MiB, which no index of packages is")
        return data

    def first(self, places: list[str]) -> tuple[str, bytes]:
        """Returns the place and content of the first of these files that exists on the web; raises FetchError."""
        failure: FetchError | None = None
        for place in places:
            try:
                return place, self.read(place, _MAX_FETCHED)
            except FetchError as error:
                if error.status not in (403, 404):
                    raise  # no server, or a failing one: the next file would fail too
                failure = failure or error
        assert failure is not None
        raise failure


def _binary_folders(top: Path) -> Iterator[Path]:
    """Yields the folders of indexes below a folder. One that is removed meanwhile, or cannot be read, is left out."""
    for parent, folders, _ in os.walk(top):
        yield from (Path(parent, name) for name in folders if name.startswith("binary-"))


def _in_folder(folder: Path) -> Iterator[_Index]:
    """Yields the indexes in a folder."""
    for name in ("repodata/repomd.xml", "repomd.xml", *_PACKAGES):
        if is_file(folder / name):
            yield _Index(str(folder / name))
            return
    # A mirror's pool has hundreds of thousands of files, and no index.
    top = folder / "dists" if (folder / "dists").is_dir() else folder
    found: dict[Path, Path] = {}
    # A suite goes by several names ("stable", "bookworm"), which are links to one folder.
    below = sorted(_binary_folders(top))
    for name in _PACKAGES:
        for file in sorted((*(folder / name for folder in below), *top.glob(f"*_{name}"))):
            if is_file(file):
                real = file.resolve()
                ending = real.suffix if real.suffix in _ENDINGS else ""
                found.setdefault(real.with_name(real.name.removesuffix(ending)), file)
    yield from (_Index(str(file)) for file in found.values())


def _of_release(place: str, text: str) -> Iterator[_Index]:
    """Yields the indexes that the Release file of a suite names, each in the best compressed form that can be read."""
    found: dict[str, dict[str, str]] = {}
    for digest, folder, name in _RELEASE_LINE.findall(text):
        if ".." not in folder.split("/") and not folder.startswith("/"):
            found.setdefault(folder, {})[name] = digest
    base = place.rsplit("/", 1)[0]
    for folder, names in found.items():
        best = next((name for name in _PACKAGES if name in names), None)
        if best is not None:
            yield _Index(f"{base}/{folder}/{best}", names[best])


def _on_web(reader: _Reader, place: str) -> tuple[list[_Index], dict[str, bytes]]:
    """Returns the indexes at an address, and what has been fetched of them."""
    name = place.rstrip("/").rsplit("/", 1)[-1]
    if name == "repomd.xml" or "Packages" in name:
        return [_Index(place)], {}
    base = place.rstrip("/")
    inside = () if name == "repodata" else ("repodata/repomd.xml",)
    names = (*inside, "repomd.xml", *_PACKAGES[:2], "Packages", "Release")
    try:
        found, data = reader.first([*(f"{base}/{item}" for item in names)])
    except FetchError as error:
        if error.status is None:
            raise
        try:
            return [_Index(place)], {place: reader.read(place, _MAX_FETCHED)}
        except FetchError:
            raise error from None
    if found.endswith("/Release"):
        return list(_of_release(found, data[:_MAX_RELEASE].decode("utf-8", "replace"))), {}
    return [_Index(found)], {found: data}


def read_repository(place: str, fetcher: Fetcher, progress: Callable[[str], None]) -> Repository:
    """Reads every kernel of a repository; raises PackageError, FetchError or BrokenDataError."""
    reader = _Reader(fetcher)
    have: dict[str, bytes] = {}
    if is_url(place):
        progress(f"reading {place}")
        indexes, have = _on_web(reader, place)
    else:
        path = expanded(place)
        kind = kind_of(path)
        if kind is Kind.MISSING:
            raise PackageError(f"{path}: no such file or folder; name a repository")
        indexes = [_Index(str(path))] if kind is Kind.FILE else list(_in_folder(path)) if kind is Kind.FOLDER else []
    if not indexes:
        raise PackageError(f"{place}: no repodata/repomd.xml, no Packages file and no dists of a mirror in it")
    if len(indexes) > _MAX_INDEXES:
        raise PackageError(f"{place}: more than {_MAX_INDEXES} indexes: name one suite")
    return _read_all(reader, place, indexes, have, progress)


def _read_all(
    reader: _Reader, place: str, indexes: list[_Index], have: dict[str, bytes], progress: Callable[[str], None]
) -> Repository:
    """Reads all indexes. One that cannot be read costs only the kernels in it; raises the error of the first if none
    can be read.
    """
    kernels: list[KernelPackage] = []
    skipped: list[Unreadable] = []
    failure: PackageError | FetchError | BrokenDataError | None = None
    is_rpm = False
    for index in indexes:
        progress(f"reading {index.place}")
        try:
            data = have.pop(index.place, None) or reader.read(index.place, _MAX_FETCHED)
            if index.digest is not None and hashlib.sha256(data).hexdigest() != index.digest:
                raise PackageError(f"{index.place}: not the file that its Release file names: its checksum differs")
            found, unreadable, is_rpm = _read_index(reader, index.place, data, progress)
        except (PackageError, FetchError, BrokenDataError) as error:
            failure = failure or error
            skipped.append(Unreadable("", "", str(error)))
            continue
        kernels += found
        skipped += unreadable
    if not kernels:
        if failure is not None and len(skipped) == len(indexes):
            raise failure
        raise PackageError(skipped[0].reason if skipped else f"{place}: there is no kernel in this repository")
    ordered = _sorted_rpms(kernels) if is_rpm else sort_kernels(kernels)
    return Repository(place, tuple(ordered), tuple(reader.notes), tuple(skipped))


def _read_index(
    reader: _Reader, place: str, data: bytes, progress: Callable[[str], None]
) -> tuple[list[KernelPackage], list[Unreadable], bool]:
    """Returns the kernels of an index, its unreadable rows, and True if it lists RPMs."""
    content = decompress(data, place, _MAX_FETCHED)
    if is_packages_index(content):
        index = read_packages_index(content, place)
        return index.kernels, index.unreadable, False
    if content[:_MAX_INDEX].lstrip()[:1] != b"<":
        raise PackageError(f"{place}: neither a repomd.xml nor a Packages file")
    if len(content) > _MAX_INDEX:
        raise PackageError(f"{place}: larger than {_MAX_INDEX >> 20} MiB, which no repomd.xml is")
    return _read_repodata(reader, place, content, progress), [], True


def _read_repodata(reader: _Reader, place: str, data: bytes, progress: Callable[[str], None]) -> list[KernelPackage]:
    named = find_other(data, place)
    href = named.href
    root = posixpath.dirname(place) or "."
    if posixpath.basename(root) == "repodata":
        root = posixpath.dirname(root) or "."
    elif href.startswith("repodata/"):
        href = href[len("repodata/") :]
    other = f"{root.rstrip('/')}/{href}"
    content = reader.read(other, _MAX_FETCHED)
    if named.checksum is not None and named.checksum[0] in ("sha256", "sha512"):
        algorithm, digest = named.checksum
        if hashlib.new(algorithm, content).hexdigest() != digest:
            raise PackageError(
                f"{other}: not the file that {place} names: its checksum differs ({parameter('refresh')} fetches both anew)"
            )
    progress(f"reading {other}")
    return list(read_other(content, other))


def _sorted_rpms(kernels: list[KernelPackage]) -> list[KernelPackage]:
    """Returns the kernels, oldest first. If a kernel has a -core part, which shares its changelog and version and has
    the image, only that part is kept.
    """
    have = {(kernel.name, kernel.version, kernel.architecture) for kernel in kernels}
    kept = {
        (kernel.name, kernel.version, kernel.architecture): kernel
        for kernel in kernels
        if (f"{kernel.name}-core", kernel.version, kernel.architecture) not in have
    }
    return sorted(kept.values(), key=lambda kernel: (kernel.name, kernel.architecture, rpm_key(kernel.version)))


def open_subjects(request: Request, place: str) -> Iterator[Subject | Skipped]:
    """Yields every kernel of a repository, each as one of its series; raises PackageError or FetchError."""
    from tailcall_audit.analyzer.subjects.package import subject_of_package

    repository = read_repository(place, request.fetcher(), request.progress)
    for number, package in enumerate(repository.kernels, 1):
        label = f"{package.name} {package.version}"
        request.progress(f"judging {label} ({number} of {len(repository.kernels)})")
        # Debian's package names hold the version, so they are no series; RPM's are.
        name = package.name if package.is_rpm else "linux"
        series = f"{name} {package.architecture}"
        try:
            subject = subject_of_package(request, package, repository.notes)
        except AuditError as error:
            yield Skipped(label, str(error), series)
        else:
            yield subject._replace(series=series)
    # Their place in the order is not known: each may be the newest.
    for row in repository.skipped:
        yield Skipped(row.name or place, row.reason, f"{row.name} {row.architecture}" if row.name else None)
