"""RPM's repodata (createrepo): repomd.xml, and the changelogs of all packages in other.xml, read as a stream.

expat, which Python brings, is driven directly: no tree is built, and a document type, without which there are no
entities, is refused. The memory used depends only on the kernels' changelogs, not on the rest of the file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.parsers import expat

from tailcall_audit.analyzer.kernelfiles.compression import Decompressed, Readable
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, PackageError
from tailcall_audit.analyzer.kernelfiles.rpm import changelog_text, is_kernel
from tailcall_audit.analyzer.libraries import xml_errors

__all__ = ["OtherFile", "find_other", "read_other"]

_MAX_OTHER = 4 << 30
"""The changelogs of RHEL's largest repositories unpack to some 1 GB."""
_MAX_TEXT = 256 << 20
"""Bytes of changelogs that are kept."""
_MAX_ENTRIES = 300_000
"""Entries of changelogs that are kept: a kernel has some hundred to some thousand, and a million take 500 MB."""
_MAX_KERNELS = 2000
_MAX_TOKEN = 4 << 20
_ELEMENTS = 4_000_000
_PIECE = 1 << 16
_OTHER = "http://linux.duke.edu/metadata/other "
_REPO = "http://linux.duke.edu/metadata/repo "
_DATE = re.compile(r"\d{1,11}", re.ASCII)

Attributes = dict[str, str]


class OtherFile(NamedTuple):
    """The file of changelogs that a repomd.xml names; `checksum` is its algorithm and hexadecimal digest, if it has
    one.
    """

    href: str
    checksum: tuple[str, str] | None


class _Handler:
    """A handler of elements; `text` is called with their text only while `wants_text` is true."""

    wants_text = False

    def start(self, name: str, attributes: Attributes) -> None:
        """Called at the start of an element."""

    def end(self, name: str) -> None:
        """Called at the end of an element."""

    def text(self, text: str) -> None:
        """Called with a part of an element's text."""


def _parse(stream: Readable, size: int, place: str, handler: _Handler) -> Iterator[None]:
    """Feeds a handler, a piece at a time; raises PackageError. `size` is that of the file, before it is unpacked."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    elements = 0

    def refuse(*_: object) -> None:
        raise PackageError(f"{place}: it has a document type, which no repodata has")

    def start(name: str, attributes: Attributes) -> None:
        nonlocal elements
        elements += 1
        if elements > max(_ELEMENTS, size // 4):
            raise PackageError(f"{place}: more than {elements - 1:,} elements, which no repository of its size has")
        handler.start(name, attributes)
        parser.CharacterDataHandler = handler.text if handler.wants_text else None

    def end(name: str) -> None:
        handler.end(name)
        parser.CharacterDataHandler = handler.text if handler.wants_text else None

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    fed = 0
    while True:
        piece = stream.read(_PIECE)
        with xml_errors(lambda words: PackageError(f"{place}: broken XML: {words}")):
            parser.Parse(piece, not piece)
        fed += len(piece)
        # expat keeps a tag in memory until it is complete.
        if fed - max(0, parser.CurrentByteIndex) > _MAX_TOKEN:
            raise PackageError(f"{place}: a tag of more than {_MAX_TOKEN >> 20} MiB, which no repodata has")
        yield
        if not piece:
            return


class _Repomd(_Handler):
    """Finds the data of type "other", of which there may be one."""

    def __init__(self) -> None:
        self.found: list[OtherFile] = []
        self._type: str | None = None
        self._href = self._algorithm = self._digest = ""

    def start(self, name: str, attributes: Attributes) -> None:
        if name == f"{_REPO}data":
            self._type = attributes.get("type")
            self._href = self._algorithm = self._digest = ""
        elif self._type == "other" and name == f"{_REPO}location":
            self._href = attributes.get("href", "")
        elif self._type == "other" and name == f"{_REPO}checksum":
            self._algorithm = attributes.get("type", "")
            self.wants_text = True

    def text(self, text: str) -> None:
        self._digest += text

    def end(self, name: str) -> None:
        self.wants_text = False
        if name == f"{_REPO}data":
            if self._type == "other" and self._href:
                digest = self._digest.strip().lower()
                self.found.append(OtherFile(self._href, (self._algorithm, digest) if digest else None))
            self._type = None


def find_other(data: bytes, place: str) -> OtherFile:
    """Returns the file of changelogs that a repomd.xml names; raises PackageError."""
    handler = _Repomd()
    for _ in _parse(io.BytesIO(data), len(data), place, handler):
        pass
    if len(handler.found) != 1:
        how = "no file" if not handler.found else "more than one file"
        raise PackageError(f'{place}: it names {how} of changelogs (data type="other")')
    found = handler.found[0]
    if found.href.startswith("/") or ".." in found.href.split("/") or "://" in found.href:
        raise PackageError(f"{place}: the changelogs are said to be outside of the repository: {found.href[:100]!r}")
    return found


class _Other(_Handler):
    """Collects the kernels; `ready` are those that are whole."""

    def __init__(self, place: str) -> None:
        self.ready: list[KernelPackage] = []
        self._place = place
        self._package: Attributes | None = None
        self._version: Attributes = {}
        self._entries: list[tuple[int, str, str]] = []
        self._entry: Attributes | None = None
        self._parts: list[str] = []
        self._left = _MAX_TEXT
        self._entries_left = _MAX_ENTRIES
        # A kernel and its -core part share their changelog.
        self._texts: dict[bytes, bytes] = {}

    def start(self, name: str, attributes: Attributes) -> None:
        if name == f"{_OTHER}package":
            wanted = is_kernel(attributes.get("name", "")) and attributes.get("arch") not in ("src", "nosrc")
            self._package = attributes if wanted else None
            self._version, self._entries = {}, []
        elif self._package is None:
            return
        elif name == f"{_OTHER}version":
            self._version = attributes
        elif name == f"{_OTHER}changelog":
            self._entry, self._parts, self.wants_text = attributes, [], True

    def text(self, text: str) -> None:
        self._left -= len(text)
        if self._left < 0:
            raise PackageError(f"{self._place}: more than {_MAX_TEXT >> 20} MiB of changelogs of kernels")
        self._parts.append(text)

    def end(self, name: str) -> None:
        if name == f"{_OTHER}changelog" and self._entry is not None:
            date = self._entry.get("date", "")
            self._entries_left -= 1
            if self._entries_left < 0:
                raise PackageError(f"{self._place}: more than {_MAX_ENTRIES:,} entries of changelogs of kernels")
            if _DATE.fullmatch(date):
                self._entries.append((int(date), self._entry.get("author", ""), "".join(self._parts)))
            self._entry, self.wants_text = None, False
        elif name == f"{_OTHER}package" and self._package is not None:
            self.ready.append(self._kernel(self._package))
            self._package = None

    def _kernel(self, package: Attributes) -> KernelPackage:
        name = package.get("name", "")
        # createrepo writes the oldest entry first; `rpm -q --changelog` the newest.
        text = changelog_text(sorted(self._entries, key=lambda entry: -entry[0]))
        text = self._texts.setdefault(text, text)
        return KernelPackage(
            path=f"{self._place} ({name})",
            name=name,
            version=f"{self._version.get('ver', '')}-{self._version.get('rel', '')}",
            architecture=package.get("arch", ""),
            source=f"{name}.src.rpm",
            changelog=("%changelog", text) if text else None,
            config=None,
            image=None,
            is_rpm=True,
        )


def read_other(data: bytes, place: str) -> Iterator[KernelPackage]:
    """Yields every kernel in an other.xml, compressed or not; raises PackageError or BrokenDataError."""
    handler = _Other(place)
    stream = Decompressed(io.BytesIO(data), data[:9], place, _MAX_OTHER)
    count = 0
    for _ in _parse(stream, len(data), place, handler):
        count += len(handler.ready)
        if count > _MAX_KERNELS:
            raise PackageError(f"{place}: more than {_MAX_KERNELS} kernels")
        yield from handler.ready
        handler.ready = []
