"""Debian's Packages files, as mirrors and apt have them: reads all kernel images in one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.compression import decompress
from tailcall_audit.analyzer.kernelfiles.deb import installed_image, parse_control
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, PackageError

__all__ = ["PackagesIndex", "Unreadable", "is_packages_index", "read_packages_index", "sort_kernels"]

_MAX_PACKAGES = 256 << 20
_MAX_PARAGRAPH = 1 << 16
_MAX_KERNELS = 2000
_MAX_VERSION = 256
_LOOK_AT = 1 << 16
_IMAGE_RELEASE = re.compile(r"\d+\.\d+(?:\.\d|[-~]rc)", re.ASCII)
_BLANK = re.compile(r"\n(?:[ \t]*\n)+")
_PACKAGE = re.compile(r"^Package:[ \t]*(\S+)", re.MULTILINE)
_ARCHITECTURE = re.compile(r"^Architecture:[ \t]*(\S+)", re.MULTILINE)
_FIRST = re.compile(rb"(?:^|\n)Package:[ \t]*\S")
_VERSION = re.compile(r"(?:\d+:)?[0-9A-Za-z.+~-]+(?:-[0-9A-Za-z.+~]+)?", re.ASCII)


class Unreadable(NamedTuple):
    """A row of an index that cannot be read, and why. `name` and `architecture` are those of its series, "" if it may
    be of any.
    """

    name: str
    architecture: str
    reason: str


class PackagesIndex(NamedTuple):
    """The kernels of an index, oldest first, and the rows of kernels that cannot be read."""

    kernels: list[KernelPackage]
    unreadable: list[Unreadable]


def is_packages_index(content: bytes) -> bool:
    """Returns True if decompressed content is that of a Packages file."""
    return _FIRST.search(content[:_LOOK_AT]) is not None


def _paragraphs(text: str) -> Iterator[str]:
    """Yields the paragraphs about images, out of some 60,000."""
    start = 0
    for blank in _BLANK.finditer(text):
        yield text[start : blank.start()]
        start = blank.end()
    yield text[start:]


def read_packages_index(data: bytes, place: str) -> PackagesIndex:
    """Returns every kernel image in a Packages file, flavours of one version in one row; raises PackageError or
    BrokenDataError.
    """
    content = decompress(data, place, _MAX_PACKAGES)
    if not is_packages_index(content):
        raise PackageError(f'{place}: not a Packages file: no line starts with "Package: "')
    unreadable: list[Unreadable] = []
    groups: dict[tuple[str, str, str], list[str]] = {}
    for paragraph in _paragraphs(content.decode("utf-8", "replace")):
        named = _PACKAGE.search(paragraph)
        # linux-image-6.12-amd64 is a metapackage: an image's release has three numbers.
        if named is None or not _IMAGE_RELEASE.match(installed_image(named.group(1)) or ""):
            continue
        name = named.group(1)[:_MAX_VERSION]
        try:
            if len(paragraph) > _MAX_PARAGRAPH:
                raise PackageError(f"{len(paragraph):,} bytes, which no paragraph of an index has")
            fields = parse_control(paragraph)
            version = fields.get("Version", "")
            if len(version) > _MAX_VERSION or not _VERSION.fullmatch(version):
                raise PackageError(f"not the version of a Debian package: {version[:60]!r}")
        except PackageError as error:
            architecture = _ARCHITECTURE.search(paragraph)
            row = f"{place}: {name}: {error}"
            unreadable.append(Unreadable("linux", "" if architecture is None else architecture.group(1)[:60], row))
            continue
        key = (version, fields.get("Architecture", "all"), fields.get("Source", name))
        groups.setdefault(key, []).append(name)
        if len(groups) > _MAX_KERNELS:
            raise PackageError(f"{place}: more than {_MAX_KERNELS} kernels")
    return PackagesIndex(sort_kernels(_row(place, key, min(groups[key], key=len)) for key in groups), unreadable)


def sort_kernels(kernels: Iterable[KernelPackage]) -> list[KernelPackage]:
    """Returns the kernels of one or several indexes without repetitions, for each architecture the oldest first."""
    from debian.debian_support import NativeVersion

    once = {(kernel.name, kernel.version, kernel.architecture): kernel for kernel in kernels}
    return sorted(once.values(), key=lambda kernel: (kernel.architecture, NativeVersion(kernel.version)))


def _row(place: str, key: tuple[str, str, str], name: str) -> KernelPackage:
    version, architecture, source = key
    return KernelPackage(
        path=place,
        name=name,
        version=version,
        architecture=architecture,
        source=source,
        changelog=None,
        config=None,
        image=None,
        release=installed_image(name),
    )
