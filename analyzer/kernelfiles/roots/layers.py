"""Applies the layers of a container image, in memory.

Only files that may be relevant to a kernel are kept. A file ``.wh.NAME`` removes NAME, and ``.wh..wh..opq`` removes
everything that lower layers have in its folder (OCI image-spec, layer.md).
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from functools import partial
from typing import IO

from tailcall_audit.analyzer.kernelfiles.compression import Decompressed, Joined
from tailcall_audit.analyzer.kernelfiles.places import IMAGE_NAMES
from tailcall_audit.analyzer.kernelfiles.roots.root import MemoryRoot, RootError
from tailcall_audit.analyzer.kernelfiles.tar import stream_members
from tailcall_audit.analyzer.libraries import tar_errors

__all__ = ["Layers", "broken_archive"]

_WANTED = re.compile(
    r"(?:boot/[^/]+|(?:usr/)?lib/modules/[^/]+/(?:" + "|".join(IMAGE_NAMES) + r"|config)|var/lib/dpkg/status"
    r"|(?:usr/lib/sysimage|var/lib|usr/share)/rpm/(?:rpmdb\.sqlite|Packages|Packages\.db)"
    r"|usr/share/doc/[^/]++/changelog[^/]*+|vmlinu[xz])"
)
_MODULES = re.compile(r"((?:usr/)?lib/modules/[^/]+)(?:/.*+)?")
_MOST_KEPT = 1 << 30
_MOST_LAYER = 64 << 30
_MOST_MEMBERS = 2_000_000
_GONE, _ALL_GONE = ".wh.", ".wh..wh..opq"


def _is_wanted(path: str) -> bool:
    of_kernel = not path.startswith("usr/share/doc/") or "linux" in path or "kernel" in path
    return of_kernel and _WANTED.fullmatch(path) is not None


def broken_archive(label: str, words: str) -> RootError:
    """Returns the error for an archive that cannot be read to its end."""
    return RootError(f"{label}: a broken archive: {words}")


class _Hashed:
    """A stream that computes a digest of what is read."""

    def __init__(self, source: IO[bytes], label: str) -> None:
        self._source, self._label = source, label
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        with tar_errors(partial(broken_archive, self._label)):
            part = self._source.read(size)
        self.digest.update(part)
        return part


class Layers:
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
        fail = partial(broken_archive, self.label)
        # A mark removes files of lower layers only, not of its own layer, wherever it is in the archive.
        below = (dict.fromkeys(self.files), dict.fromkeys(self.links), set(self.folders))
        too_many = RootError(f"{self.label}: a layer of more than {_MOST_MEMBERS:,} files")
        for archive, member in stream_members(plain, fail, _MOST_MEMBERS, too_many):
            self._take(archive, member, below)
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
        with tar_errors(partial(broken_archive, self.label)):
            file = archive.extractfile(member)
            self.files[path] = b"" if file is None else file.read()

    def root(self) -> MemoryRoot:
        """Returns the root file system that the layers make."""
        return MemoryRoot(self.label, self.files, self.links, frozenset(self.folders))
