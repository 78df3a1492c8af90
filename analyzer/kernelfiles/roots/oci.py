"""Reads the root file system of a container image: an archive of ``docker save``, or an OCI layout in a folder or an
archive.

The layers are applied in order, in memory. Only files that may be relevant to a kernel are kept. A file ``.wh.NAME``
removes NAME, and ``.wh..wh..opq`` removes everything that lower layers have in its folder (OCI image-spec, layer.md).
Each blob of a layout must match the digest in its name.
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

from tailcall_audit.analyzer.kernelfiles.compression import Decompressed, Joined
from tailcall_audit.analyzer.kernelfiles.roots.root import FolderRoot, MemoryRoot, RootError
from tailcall_audit.analyzer.kernelfiles.tar import BoundedHeader
from tailcall_audit.analyzer.libraries import parse_json, tar_errors
from tailcall_audit.analyzer.paths import Kind, expanded, kind_of
from tailcall_audit.probes.reading import open_file

__all__ = ["roots_of_images"]

_WANTED = re.compile(
    r"(?:boot/[^/]+|(?:usr/)?lib/modules/[^/]+/(?:vmlinuz|vmlinux|Image|config)|var/lib/dpkg/status"
    r"|(?:usr/lib/sysimage|var/lib|usr/share)/rpm/(?:rpmdb\.sqlite|Packages|Packages\.db)"
    r"|usr/share/doc/[^/]++/changelog[^/]*+|vmlinu[xz])"
)
_MODULES = re.compile(r"((?:usr/)?lib/modules/[^/]+)(?:/.*+)?")
_MOST_KEPT = 1 << 30
_MOST_LAYER = 64 << 30
_MOST_MEMBERS = 2_000_000
_MOST_BLOBS = 100_000
_MOST_LAYERS = 500
_MOST_IMAGES = 20
_MOST_TEXT = 16 << 20
_GONE, _ALL_GONE = ".wh.", ".wh..wh..opq"


def _is_wanted(path: str) -> bool:
    of_kernel = not path.startswith("usr/share/doc/") or "linux" in path or "kernel" in path
    return of_kernel and _WANTED.fullmatch(path) is not None


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
        fail = partial(_broken, label)
        while True:
            with tar_errors(fail):
                member = archive.next()
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
        with tar_errors(partial(_broken, self._label)):
            found = self._archive.extractfile(member)
        assert found is not None
        return found


def _broken(label: str, words: str) -> RootError:
    return RootError(f"{label}: a broken archive: {words}")


class _Hashed:
    """A stream that computes a digest of what is read."""

    def __init__(self, source: IO[bytes], label: str) -> None:
        self._source, self._label = source, label
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        with tar_errors(partial(_broken, self._label)):
            part = self._source.read(size)
        self.digest.update(part)
        return part


class _Layers:
    """The files that exist after the layers applied so far."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.folders: set[str] = set()
        self._kept = 0

    def apply(self, stream: IO[bytes], digest: str | None) -> None:
        """Applies a layer. Raises RootError if it is broken or does not match its digest."""
        hashed = _Hashed(stream, self.label)
        start = hashed.read(9)
        plain = Decompressed(Joined(start, hashed), start, f"{self.label}: a layer", _MOST_LAYER)
        fail = partial(_broken, self.label)
        # A mark removes files of lower layers only, not of its own layer, wherever it is in the archive.
        below = (dict.fromkeys(self.files), dict.fromkeys(self.links), set(self.folders))
        with tar_errors(fail):
            archive = tarfile.open(fileobj=plain, mode="r|", tarinfo=BoundedHeader)  # type: ignore[call-overload]  # noqa: SIM115
        for _ in range(_MOST_MEMBERS):
            with tar_errors(fail):
                member = archive.next()
            if member is None:
                break
            archive.members = []  # tarfile would keep every header
            self._take(archive, member, below)
        else:
            raise RootError(f"{self.label}: a layer of more than {_MOST_MEMBERS:,} files")
        while plain.read(1 << 20):
            pass  # the digest includes data after the archive
        while hashed.read(1 << 20):
            pass
        if digest is not None and digest != f"sha256:{hashed.digest.hexdigest()}":
            raise RootError(f"{self.label}: a layer that is not what its digest {digest[:80]} says")

    def _take(
        self,
        archive: tarfile.TarFile,
        member: tarfile.TarInfo,
        below: tuple[dict[str, None], dict[str, None], set[str]],
    ) -> None:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            return
        path, name, folder = "/".join(parts), parts[-1], "/".join(parts[:-1])
        if name == _ALL_GONE:
            self._remove(f"{folder}/" if folder else "", below)
        elif name.startswith(_GONE):
            gone = "/".join((*parts[:-1], name.removeprefix(_GONE)))
            self._remove(f"{gone}/", below)
            self._remove(gone, below)
        elif member.issym():
            self.links[path] = member.linkname
            self.files.pop(path, None)
        elif member.islnk() or member.isreg():
            self.links.pop(path, None)
            self._keep(archive, member, path)
        match = _MODULES.fullmatch(path)
        if match is not None and not name.startswith(_GONE):
            self.folders.add(match.group(1))

    def _remove(self, start: str, below: tuple[dict[str, None], dict[str, None], set[str]]) -> None:
        whole = start.endswith("/") or not start
        for mine, theirs in ((self.files, below[0]), (self.links, below[1])):
            for path in [path for path in theirs if (path.startswith(start) if whole else path == start)]:
                mine.pop(path, None)
                theirs.pop(path)
        self.folders -= {path for path in below[2] if (f"{path}/".startswith(start) if whole else path == start)}

    def _keep(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if not _is_wanted(path):
            return
        if member.islnk():
            target = "/".join(part for part in member.linkname.split("/") if part not in ("", "."))
            if target in self.files:
                self.files[path] = self.files[target]
            return
        self._kept += member.size
        if self._kept > _MOST_KEPT:
            raise RootError(f"{self.label}: its kernels have more than {_MOST_KEPT >> 20} MiB: no image's do")
        with tar_errors(partial(_broken, self.label)):
            file = archive.extractfile(member)
            self.files[path] = b"" if file is None else file.read()

    def root(self) -> MemoryRoot:
        return MemoryRoot(self.label, self.files, self.links, frozenset(self.folders))


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
    """Yields the platform and the layers of every image in an index, including nested indexes."""
    for item in descriptors if isinstance(descriptors, list) else ():
        if not isinstance(item, dict):
            continue
        given = item.get("platform")
        platform = given if isinstance(given, dict) else {}
        name = "/".join(str(platform[key]) for key in ("os", "architecture", "variant") if key in platform)
        if name.startswith("unknown"):
            continue  # an attestation, not an image
        data = _checked_json(blobs, item.get("digest"), label)
        if isinstance(data, dict) and "manifests" in data and depth:
            yield from _manifests(blobs, data["manifests"], label, depth - 1)
        elif isinstance(data, dict) and isinstance(data.get("layers"), list):
            yield name, data["layers"]


def _roots(blobs: _Blobs, label: str) -> Iterator[MemoryRoot]:
    saved = _json(blobs, "manifest.json", label)
    index = _json(blobs, "index.json", label)
    count = 0
    if isinstance(index, dict):
        for platform, layers in _manifests(blobs, index.get("manifests"), label):
            made = _Layers(f"{label} ({platform})" if platform else label)
            for layer in layers[:_MOST_LAYERS]:
                digest = layer.get("digest") if isinstance(layer, dict) else None
                made.apply(blobs.stream(_blob(digest)), digest)
            count += 1
            if count > _MOST_IMAGES:
                raise RootError(f"{label}: more than {_MOST_IMAGES} images: give one")
            yield made.root()
    elif isinstance(saved, list):
        for item in saved[:_MOST_IMAGES]:
            tags = item.get("RepoTags") if isinstance(item, dict) else None
            made = _Layers(f"{label} ({tags[0]})" if isinstance(tags, list) and tags else label)
            names = item.get("Layers") if isinstance(item, dict) else None
            for name in (names if isinstance(names, list) else [])[:_MOST_LAYERS]:
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
            with tar_errors(partial(_broken, f"{path} (unpack it, if it is compressed)")):
                archive = tarfile.open(fileobj=file, mode="r:", tarinfo=BoundedHeader)  # noqa: SIM115
            yield _Archive(archive, str(path))
    except OSError as error:
        raise RootError(f"{path}: cannot read: {error.strerror or error}") from error


def roots_of_images(name: str) -> Iterator[MemoryRoot]:
    """Yields the root of every image in an archive or a folder. Raises RootError if there is none or it is broken."""
    path = expanded(name)
    with _opened(path) as blobs:
        yield from _roots(blobs, str(path))
