"""Reads the root file system of a container image: an archive of ``docker save``, or an OCI layout in a folder or an
archive.

The layers are applied in order, in memory. Each blob of a layout must match the digest in its name.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from tailcall_audit.analyzer.kernelfiles.roots.layers import Layers, broken_archive
from tailcall_audit.analyzer.kernelfiles.roots.root import FolderRoot, MemoryRoot, RootError
from tailcall_audit.analyzer.kernelfiles.tar import BoundedHeader, next_member
from tailcall_audit.analyzer.libraries import parse_json, tar_errors
from tailcall_audit.analyzer.paths import Kind, expanded, kind_of
from tailcall_audit.probes.reading import open_file

__all__ = ["roots_of_images"]

_MOST_BLOBS = 100_000
_MOST_LAYERS = 500
_MOST_IMAGES = 20
_MOST_TEXT = 16 << 20


class _Blobs(Protocol):
    """The source of an image's files."""

    def text(self, name: str) -> bytes | None: ...

    def stream(self, name: str) -> IO[bytes]: ...


class _Folder:
    def __init__(self, root: FolderRoot) -> None:
        self._root = root

    def text(self, name: str) -> bytes | None:
        return self._root.read(name, _MOST_TEXT)

    def stream(self, name: str) -> IO[bytes]:
        found = self._root.stream(name)
        if found is None:
            raise RootError(f"{self._root.label}: there is no {name[:200]} in it")
        return found


class _Archive:
    """The members of an uncompressed tar archive, which are read in place."""

    def __init__(self, archive: tarfile.TarFile, label: str) -> None:
        self._archive, self._label = archive, label
        self._members: dict[str, tarfile.TarInfo] = {}
        fail = partial(broken_archive, label)
        while True:
            with tar_errors(fail):
                member = next_member(archive)
            if member is None:
                return
            if len(self._members) >= _MOST_BLOBS:
                raise RootError(f"{label}: more than {_MOST_BLOBS:,} files")
            self._members[member.name.removeprefix("./")] = member

    def text(self, name: str) -> bytes | None:
        return None if name not in self._members else self.stream(name).read(_MOST_TEXT)

    def stream(self, name: str) -> IO[bytes]:
        member = self._members.get(name)
        for _ in range(4):  # docker save uses links for a layer that several images share
            if member is None or not member.issym():
                break
            target = str(Path(member.name).parent / member.linkname)
            parts: list[str] = []
            for part in target.split("/"):
                parts = parts[:-1] if part == ".." else [*parts, *([part] if part not in ("", ".") else [])]
            member = self._members.get("/".join(parts))
        if member is None or not member.isreg():
            raise RootError(f"{self._label}: there is no {name[:200]} in it")
        with tar_errors(partial(broken_archive, self._label)):
            found = self._archive.extractfile(member)
        assert found is not None
        return found


def _json(blobs: _Blobs, name: str, label: str) -> object:
    data = blobs.text(name)
    if data is None:
        return None

    def fail(place: str, words: str) -> RootError:
        return RootError(f"{label}: {name[:100]}{place}: {words}")

    return parse_json(data, fail)


def _blob(digest: object) -> str:
    match = re.fullmatch(r"(sha256):([0-9a-f]{64})", digest) if isinstance(digest, str) else None
    if match is None:
        raise RootError(f"a digest that is no sha256: {str(digest)[:80]!r}")
    return f"blobs/{match.group(1)}/{match.group(2)}"


def _checked_json(blobs: _Blobs, digest: object, label: str) -> object:
    data = blobs.text(_blob(digest)) or b""
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise RootError(f"{label}: {str(digest)[:80]} is missing, or not what its digest says")
    return _json(blobs, _blob(digest), label)


def _manifests(blobs: _Blobs, descriptors: object, label: str, depth: int = 3) -> Iterator[tuple[str, list[Any]]]:
    """Yields the platform and the layers of every image in an index, including nested indexes. Raises RootError for an
    index that is nested deeper than `depth`.
    """
    for item in descriptors if isinstance(descriptors, list) else ():
        if not isinstance(item, dict):
            continue
        given = item.get("platform")
        platform = given if isinstance(given, dict) else {}
        name = "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if key in platform)
        if name.startswith("unknown"):
            continue  # an attestation, not an image
        data = _checked_json(blobs, item.get("digest"), label)
        if isinstance(data, dict) and "manifests" in data:
            if not depth:
                raise RootError(f"{label}: its indexes are nested deeper than is read: give the image alone")
            yield from _manifests(blobs, data["manifests"], label, depth - 1)
        elif isinstance(data, dict) and isinstance(data.get("layers"), list):
            yield name, data["layers"]


def _all_of(items: object, most: int, label: str, what: str) -> list[Any]:
    """Returns the items of a list, none for anything else. Raises RootError if they are more than are read."""
    found = items if isinstance(items, list) else []
    if len(found) > most:
        raise RootError(f"{label}: more than {most} {what}")
    return found


def _roots(blobs: _Blobs, label: str) -> Iterator[MemoryRoot]:
    saved = _json(blobs, "manifest.json", label)
    index = _json(blobs, "index.json", label)
    count = 0
    if isinstance(index, dict):
        for platform, layers in _manifests(blobs, index.get("manifests"), label):
            made = Layers(f"{label} ({platform})" if platform else label)
            for layer in _all_of(layers, _MOST_LAYERS, made.label, "layers"):
                digest = layer.get("digest") if isinstance(layer, dict) else None
                made.apply(blobs.stream(_blob(digest)), digest)
            count += 1
            if count > _MOST_IMAGES:
                raise RootError(f"{label}: more than {_MOST_IMAGES} images: give one")
            yield made.root()
    elif isinstance(saved, list):
        for item in _all_of(saved, _MOST_IMAGES, label, "images: give one"):
            tags = item.get("RepoTags") if isinstance(item, dict) else None
            made = Layers(f"{label} ({tags[0]})" if isinstance(tags, list) and tags else label)
            names = item.get("Layers") if isinstance(item, dict) else None
            for name in _all_of(names, _MOST_LAYERS, made.label, "layers"):
                made.apply(blobs.stream(str(name)), None)
            count += 1
            yield made.root()
    if not count:
        raise RootError(
            f"{label}: no image in it: neither an index.json with a manifest nor a manifest.json of docker save"
        )


@contextmanager
def _opened(path: Path) -> Iterator[_Blobs]:
    if kind_of(path) is Kind.FOLDER:
        root = FolderRoot(str(path))
        try:
            yield _Folder(root)
        finally:
            root.close()
        return
    try:
        with open_file(path) as file:
            with tar_errors(partial(broken_archive, f"{path} (unpack it, if it is compressed)")):
                archive = tarfile.open(fileobj=file, mode="r:", tarinfo=BoundedHeader)  # noqa: SIM115
            yield _Archive(archive, str(path))
    except OSError as error:
        raise RootError(f"{path}: cannot read: {error.strerror or error}") from error


def roots_of_images(name: str) -> Iterator[MemoryRoot]:
    """Yields the root of every image in an archive or a folder. Raises RootError if there is none or it is broken."""
    path = expanded(name)
    with _opened(path) as blobs:
        yield from _roots(blobs, str(path))
