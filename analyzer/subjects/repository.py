"""A repository of packages, from its index: every kernel in it. RPM's repodata and Debian's Packages file."""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
from collections.abc import Callable, Iterator
from functools import cmp_to_key
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree.ElementTree import Element

from tailcall_audit.analyzer.kernelfiles.compression import Bounded, BrokenDataError, decompress, decompressing
from tailcall_audit.analyzer.kernelfiles.deb import installed_image
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, PackageError
from tailcall_audit.analyzer.kernelfiles.rpm import changelog_text, is_kernel
from tailcall_audit.analyzer.libraries import debian_errors, rpm_vercmp_errors, xml_errors
from tailcall_audit.analyzer.paths import Kind, expanded, is_file, kind_of
from tailcall_audit.analyzer.web.fetch import Fetcher, FetchError, is_url

if TYPE_CHECKING:
    from debian.deb822 import Packages

__all__ = ["Repository", "Skipped", "read_repository"]

_MAX_INDEX = 1 << 20
_MAX_FETCHED = 512 << 20
_MAX_PACKAGES = 256 << 20
_MAX_OTHER = 4 << 30
"""The changelogs of RHEL's largest repositories unpack to some 1 GB."""
_MAX_KERNELS = 2000
_IMAGE_RELEASE = re.compile(r"\d+\.\d+(?:\.\d|[-~]rc)", re.ASCII)
_OTHER = "{http://linux.duke.edu/metadata/other}"
_REPO = "{http://linux.duke.edu/metadata/repo}"


class Skipped(NamedTuple):
    """A kernel that is in the index and cannot be audited, and why."""

    name: str
    architecture: str
    reason: str


class Repository(NamedTuple):
    """The kernels of a repository, oldest first in each name and architecture; `skipped` says of rows why they are not among them."""

    place: str
    kernels: tuple[KernelPackage, ...]
    notes: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()


class _Reader:
    """Reads the files of one repository, on disk or on the web."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self.notes: list[str] = []

    def read(self, place: str, limit: int) -> bytes:
        """Raises PackageError or FetchError."""
        if is_url(place):
            fetched = self._fetcher.get(
                place,
                limit,
                "name the folder above repodata, a repomd.xml or a Packages file, or mirror it and name the folder",
            )
            self.notes += [fetched.note] if fetched.note else []
            return fetched.data
        try:
            with Path(place).open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise PackageError(f"{place}: cannot read: {error.strerror or error}") from error
        if len(data) > limit:
            raise PackageError(f"{place}: larger than {limit >> 20} MiB, which no index of packages is")
        return data


def _join(place: str, *parts: str) -> str:
    return "/".join((place.rstrip("/"), *parts)) if is_url(place) else str(Path(place, *parts))


def _locate(place: str) -> list[str]:
    """The files that the index could be, in the order to try them."""
    name = place.rstrip("/").rsplit("/", 1)[-1]
    if name == "repomd.xml" or name.startswith("Packages"):
        return [place]
    if not is_url(place) and kind_of(Path(place)) is Kind.FILE:
        raise PackageError(f"{place}: neither a repomd.xml nor a Packages file")
    inside = [] if name == "repodata" else ["repodata/repomd.xml"]
    candidates = [_join(place, item) for item in (*inside, "repomd.xml", "Packages.xz", "Packages.gz", "Packages")]
    if is_url(place):
        return candidates
    found = [item for item in candidates if is_file(Path(item))]
    if not found:
        raise PackageError(
            f"{place}: {'no such folder' if kind_of(Path(place)) is Kind.MISSING else 'no repodata/repomd.xml and no Packages file in it'}"
        )
    return found


def read_repository(place: str, fetcher: Fetcher, progress: Callable[[str], None]) -> Repository:
    """Read every kernel of a repository; raises PackageError, FetchError or BrokenDataError."""
    place = place if is_url(place) else str(expanded(place))
    reader = _Reader(fetcher)
    failure: FetchError | None = None
    for candidate in _locate(place):
        progress(f"reading {candidate}")
        try:
            data = reader.read(candidate, _MAX_FETCHED)
        except FetchError as error:
            if error.status not in (403, 404):
                raise  # no server, or one in trouble: the next file would fare no better
            failure = failure or error
            continue
        skipped: list[Skipped] = []
        if candidate.rstrip("/").endswith("repomd.xml"):
            kernels = _read_repomd(reader, candidate, data, progress)
        else:
            kernels, skipped = _read_packages(candidate, data)
        if not kernels:
            raise PackageError(skipped[0].reason if skipped else f"{candidate}: there is no kernel in this repository")
        return Repository(place, tuple(kernels), tuple(reader.notes), tuple(skipped))
    assert failure is not None
    raise failure


def _read_repomd(reader: _Reader, place: str, data: bytes, progress: Callable[[str], None]) -> list[KernelPackage]:
    from defusedxml.ElementTree import fromstring

    if len(data) > _MAX_INDEX:
        raise PackageError(f"{place}: larger than {_MAX_INDEX >> 20} MiB, which no repomd.xml is")
    with xml_errors(lambda words: PackageError(f"{place}: broken XML: {words}")):
        root = fromstring(data)
    part = next((item for item in root.iter(f"{_REPO}data") if item.get("type") == "other"), None)
    location = None if part is None else part.find(f"{_REPO}location")
    href = None if location is None else location.get("href")
    if part is None or not href:
        raise PackageError(f'{place}: it names no file of changelogs (data type="other")')
    if href.startswith("/") or ".." in href.split("/") or "://" in href:
        raise PackageError(f"{place}: the changelogs are said to be outside of the repository: {href[:100]!r}")
    root_place = place[: -len("repomd.xml")].rstrip("/") or "."
    if posixpath.basename(root_place) == "repodata":
        root_place = root_place[: -len("repodata")].rstrip("/") or "."
    elif href.startswith("repodata/"):
        href = href[len("repodata/") :]
    other = _join(root_place, href)
    content = reader.read(other, _MAX_FETCHED)
    checksum = part.find(f"{_REPO}checksum")
    algorithm = "" if checksum is None else checksum.get("type", "")
    if checksum is not None and checksum.text and algorithm in ("sha256", "sha512"):
        differs = hashlib.new(algorithm, content).hexdigest() != checksum.text.strip().lower()
        if differs:
            raise PackageError(
                f"{other}: not the file that {place} names: its checksum differs (--refresh fetches both anew)"
            )
    progress(f"reading {other}")
    return _sorted_rpms(other, list(_kernels_of_other(other, content)))


def _events(place: str, stream: Bounded) -> Iterator[tuple[str, Element]]:
    from defusedxml.ElementTree import iterparse

    # What is raised where an event is used does not pass through here.
    with xml_errors(lambda words: PackageError(f"{place}: broken XML: {words}")):
        yield from iterparse(stream, events=("start", "end"))


def _kernels_of_other(place: str, data: bytes) -> Iterator[KernelPackage]:
    stream = Bounded(
        decompressing(io.BytesIO(data), data[:6], place),
        _MAX_OTHER,
        BrokenDataError(f"{place}: unpacks to more than {_MAX_OTHER >> 30} GiB, which no repository's changelogs do"),
    )
    root: Element | None = None
    count = 0
    for event, element in _events(place, stream):
        if root is None:
            root = element
        if event == "start" or element.tag != f"{_OTHER}package":
            continue
        kernel = _rpm_kernel(place, element)
        # Tens of thousands of packages: each is let go of once it was looked at.
        root.clear()
        if kernel is not None:
            count += 1
            if count > _MAX_KERNELS:
                raise PackageError(f"{place}: more than {_MAX_KERNELS} kernels")
            yield kernel


def _rpm_kernel(place: str, element: Element) -> KernelPackage | None:
    name, arch = element.get("name", ""), element.get("arch", "")
    version = element.find(f"{_OTHER}version")
    if version is None or arch in ("src", "nosrc") or not is_kernel(name):
        return None
    entries = [
        (int(entry.get("date", "0")), entry.get("author", ""), entry.text or "")
        for entry in element.iter(f"{_OTHER}changelog")
        if re.fullmatch(r"\d{1,11}", entry.get("date", ""), re.ASCII)
    ]
    # createrepo writes the oldest entry first; `rpm -q --changelog` the newest.
    text = changelog_text(sorted(entries, key=lambda entry: -entry[0]))
    return KernelPackage(
        path=f"{place} ({name})",
        name=name,
        version=f"{version.get('ver', '')}-{version.get('rel', '')}",
        architecture=arch,
        source=f"{name}.src.rpm",
        changelog=("%changelog", text) if text else None,
        config=None,
        image=None,
    )


def _sorted_rpms(place: str, kernels: list[KernelPackage]) -> list[KernelPackage]:
    """Oldest first; of a kernel and its -core part, which share changelog and version, the part with the image."""
    from rpm_vercmp import vercmp

    def compare(a: str, b: str) -> int:
        with rpm_vercmp_errors(
            lambda words: PackageError(f"{place}: not versions of RPM: {a[:60]!r}, {b[:60]!r}: {words}")
        ):
            return int(vercmp(a, b))

    in_order = cmp_to_key(compare)
    have = {(kernel.name, kernel.version, kernel.architecture) for kernel in kernels}
    kept = {
        (kernel.name, kernel.version, kernel.architecture): kernel
        for kernel in kernels
        if (f"{kernel.name}-core", kernel.version, kernel.architecture) not in have
    }
    return sorted(kept.values(), key=lambda kernel: (kernel.name, kernel.architecture, in_order(kernel.version)))


def _paragraphs(place: str, text: str) -> Iterator[Packages]:
    """The paragraphs of kernels in a Packages file: of some 60,000 only these are parsed."""
    from debian.deb822 import Packages

    wanted = re.compile(r"^Package: (?:linux-|proxmox-kernel|pve-kernel).*?(?:\n\n|\Z)", re.MULTILINE | re.DOTALL)
    with debian_errors(lambda words: PackageError(f"{place}: broken: {words}")):
        for match in wanted.finditer(text):
            yield from Packages.iter_paragraphs(match.group(), use_apt_pkg=False)


def _read_packages(place: str, data: bytes) -> tuple[list[KernelPackage], list[Skipped]]:
    """Every kernel image in a Packages file, and what was wrong with those that are left out; flavours of one version are one row."""
    from debian.debian_support import NativeVersion

    text = decompress(data, place, _MAX_PACKAGES).decode("utf-8", "replace")
    if not re.search(r"^Package: ", text, re.MULTILINE):
        raise PackageError(f'{place}: not a Packages file: no line starts with "Package: "')
    groups: dict[tuple[str, str], list[str]] = {}
    sources: dict[tuple[str, str], str] = {}
    for paragraph in _paragraphs(place, text):
        name, version = str(paragraph.get("Package", "")), str(paragraph.get("Version", ""))
        # linux-image-6.12-amd64 is a metapackage: an image's release has three numbers.
        if not version or not _IMAGE_RELEASE.match(installed_image(name) or ""):
            continue
        key = (version, str(paragraph.get("Architecture", "all")))
        groups.setdefault(key, []).append(name)
        sources[key] = str(paragraph.get("Source", name))
    if len(groups) > _MAX_KERNELS:
        raise PackageError(f"{place}: more than {_MAX_KERNELS} kernels")

    order: dict[tuple[str, str], tuple[str, NativeVersion]] = {}
    skipped = []
    for key, names in groups.items():
        try:
            with debian_errors(PackageError):
                order[key] = key[1], NativeVersion(key[0])
        except PackageError:
            reason = f"{place}: {min(names, key=len)}: not a version of Debian: {key[0][:60]!r}"
            skipped.append(Skipped("linux", key[1], reason))
    kernels = [
        KernelPackage(
            path=place,
            name=min(groups[key], key=len),
            version=key[0],
            architecture=key[1],
            source=sources[key],
            changelog=None,
            config=None,
            image=None,
            release=installed_image(min(groups[key], key=len)),
        )
        for key in sorted(order, key=order.__getitem__)
    ]
    return kernels, skipped
