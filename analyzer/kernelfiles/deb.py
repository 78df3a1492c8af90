"""Debian packages: an ar archive of two tar archives (deb(5)), of which the data part is read as a stream up to a
bound.

Debian's *signed* images, which hosts run, are of the source linux-signed-amd64 with a version like 6.1.170+3 for linux
6.1.170-3, and have ``changelog.gz`` instead of ``changelog.Debian.gz``. Since 7.2 the image is in linux-binary-*.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tailcall_audit.analyzer.kernelfiles.ar import ArError, Member, open_member, read_members
from tailcall_audit.analyzer.kernelfiles.compression import BrokenDataError, Decompressed, decompress
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, MetapackageError, PackageError
from tailcall_audit.analyzer.kernelfiles.places import image_release, is_config, without_copies
from tailcall_audit.analyzer.kernelfiles.tar import TarError, TarFile, read_tar
from tailcall_audit.probes.reading import open_file

__all__ = ["installed_image", "kernel_dependency", "parse_control", "read_deb", "read_deb_file", "read_deb_tree"]

# python-debian logs a relation that it can't parse; without a handler the raw text, escapes included, goes to stderr.
logging.getLogger("debian").addHandler(logging.NullHandler())
_MAX_UNPACKED = 2 << 30
"""The largest kernel package without debug symbols unpacks to some 500 MB."""
_MAX_FILE = 16 << 20
_MAX_CONTROL = 1 << 20
_MAX_SIMILAR = 8
_FIELD = re.compile(r"^([!-9;-~]+):[ \t]*(.*(?:\n[ \t].*)*)$", re.MULTILINE)
_KERNEL = re.compile(
    r"linux-(?:signed-)?(?:image|binary|modules|modules-extra|source|image-unsigned)-\S+|linux-source|(?:proxmox|pve)-kernel-\S+|proxmox-default-kernel"
)
_NO_KERNEL = {
    "linux-libc-dev": "headers for the C library; no kernel is built from them",
    "linux-doc": "documentation",
    "linux-perf": "a tool built beside the kernel",
    "linux-kbuild": "build tools",
    "linux-headers": "headers to build modules with; audit the image they belong to",
    "linux-base": "scripts shared by kernel packages",
    "linux-config": "configurations only; unpack one and audit that",
}
_DEPENDENCY = re.compile(
    r"((?:linux-(?:image|binary)|(?:proxmox|pve)-kernel)-\d[a-zA-Z0-9.+~-]*)(?::[a-z0-9]+)?"
    r"(?: ?\( ?([<>=]{1,2}) ?([0-9A-Za-z:.+~-]+) ?\))?(?: ?\[[^\]]*\])?(?: ?<[^>]*>)?",
    re.ASCII,
)
_MAX_RELATION = 512
_IMAGE_RELEASE = re.compile(r"\d\.\d{1,6}(?:\.\d|[-~]rc)", re.ASCII)
"""An image's name has a whole release; that of a metapackage a series (pve-kernel-5.15), a suite's number or none."""
_INSTALLED = re.compile(r"linux-(?:image|binary)(?:-unsigned)?-(\d[^\s]*)|(?:proxmox|pve)-kernel-(\d\S*)")
_CHANGELOG = re.compile(r"usr/share/doc/[^/]+/changelog(?:\.Debian)?(?:\.gz|\.xz|\.zst)?")


class _Archive(NamedTuple):
    """An open package file and its members."""

    file: BinaryIO
    path: str
    members: tuple[Member, ...]


@contextmanager
def _open(path: Path) -> Iterator[_Archive]:
    """Opens a package; turns errors of its format into PackageError."""
    try:
        with open_file(path) as file:
            yield _Archive(file, str(path), read_members(file))
    except (ArError, TarError) as error:
        raise PackageError(f"{path}: a broken package: {error}") from error
    except BrokenDataError as error:
        raise PackageError(str(error)) from error
    except OSError as error:
        raise PackageError(f"{path}: cannot read: {error.strerror or error}") from error


def _files(archive: _Archive, part: str, with_links: bool = False) -> Iterator[TarFile]:
    """Yields every regular file in a part of the package, ``control`` or ``data``, which stand where dpkg-deb(1) looks
    for them.
    """
    names = [item.name for item in archive.members if not item.name.startswith("_")]
    expected = ("debian-binary", "control.tar", "data.tar")
    if len(names) < len(expected) or not all(map(str.startswith, names, expected)):
        raise PackageError(f"{archive.path}: not a Debian package: it holds {', '.join(names[:4])[:100] or 'nothing'}")
    name = names[1 if part == "control" else 2]
    member = next(item for item in archive.members if item.name == name)
    start = open_member(archive.file, member).read(9)
    stream = Decompressed(open_member(archive.file, member), start, f"{archive.path}:{name}", _MAX_UNPACKED)
    yield from read_tar(stream, with_links)


def _control(archive: _Archive) -> dict[str, str]:
    """Returns the fields of the control file; a field that is given twice is an error, as it is for dpkg."""
    text: str | None = None
    for file in _files(archive, "control"):
        if file.name == "control":
            if file.size > _MAX_CONTROL:
                raise PackageError(f"{archive.path}: control has {file.size:,} bytes, which no control file has")
            text = file.content().decode("utf-8", "replace")
    if text is None:
        raise PackageError(f"{archive.path}: not a Debian package: no control file")
    try:
        fields = parse_control(text)
    except PackageError as error:
        raise PackageError(f"{archive.path}: a broken package: {error}") from error
    if not fields.get("Package") or not fields.get("Version"):
        raise PackageError(f"{archive.path}: not a Debian package: its control file names no package or no version")
    return fields


def parse_control(text: str) -> dict[str, str]:
    """Returns the fields of a paragraph (deb-control(5)), in title case; raises PackageError if one is given twice."""
    fields: dict[str, str] = {}
    for match in _FIELD.finditer(text):
        name = match.group(1).title()
        if name in fields:
            raise PackageError(f"two fields are named {name[:60]}")
        fields[name] = match.group(2).strip()
    return fields


class _Contents(NamedTuple):
    """The decompressed changelog and configuration in the data part, and the name of the image."""

    changelog: tuple[str, bytes] | None
    config: tuple[str, bytes] | None
    image: str | None


def _contents(archive: _Archive, package: str) -> _Contents:
    """Returns the contents of the data part, read to its end: a name that occurs twice is an error."""
    images: list[str] = []
    found: dict[str, dict[str, bytes]] = {"changelog": {}, "config": {}}
    for file in _files(archive, "data"):
        if image_release(file.name) is not None:
            images.append(file.name)
        kind = "changelog" if _CHANGELOG.fullmatch(file.name) else "config" if is_config(file.name) else None
        if kind is None:
            continue
        if file.size > _MAX_FILE or len(found[kind]) == _MAX_SIMILAR:
            raise PackageError(f"{archive.path}: {file.name}: larger, or more of its kind, than any kernel package has")
        found[kind][file.name] = file.content()
    release = installed_image(package)
    changelog = _own(archive.path, "changelog", found["changelog"], package)
    config = _own(archive.path, "configuration", found["config"], release)
    image = _own(archive.path, "kernel image", without_copies(images), release)

    def content(kind: str, name: str | None) -> tuple[str, bytes] | None:
        if name is None:
            return None
        return name, decompress(found[kind][name], f"{archive.path}:{name}", _MAX_FILE)

    return _Contents(content("changelog", changelog), content("config", config), image)


def _own(path: str, what: str, names: Iterable[str], mark: str | None) -> str | None:
    """Returns the only file, or of several the one with `mark` in its name; raises PackageError if that does not leave
    exactly one.
    """
    every = list(names)
    if len(every) <= 1:
        return every[0] if every else None
    matching = [name for name in every if mark is not None and re.search(rf"[/-]{re.escape(mark)}(?:/|$)", name)]
    # changelog.gz beside it is the changelog of the sources that the package was built from.
    matching = [name for name in matching if "/changelog.Debian" in name] or matching
    if len(matching) != 1:
        raise PackageError(
            f"{path}: it holds {len(every)} files that could each be its {what} ({', '.join(sorted(every)[:3])}):"
            " unpack it and audit them one by one"
        )
    return matching[0]


def read_deb_file(path: Path, place: str, limit: int) -> bytes:
    """Returns one file of a Debian package; raises PackageError if there is none, or if it is larger than `limit`
    bytes.
    """
    found: bytes | None = None
    with _open(path) as archive:
        # Read to the end: a name that occurs twice is an error.
        for file in _files(archive, "data"):
            if file.name == place:
                if file.size > limit:
                    raise PackageError(f"{path}: {place} has {file.size:,} bytes, which no kernel image has")
                found = file.content()
    if found is None:
        raise PackageError(f"{path}: there is no {place} in it")
    return found


def read_deb_tree(path: Path) -> Iterator[TarFile]:
    """Yields every file and link that any Debian package installs; raises PackageError."""
    with _open(path) as archive:
        yield from _files(archive, "data", with_links=True)


def installed_image(name: str) -> str | None:
    """Returns the ``uname -r`` of the image that a package of this name installs; None if a package of this name does
    not contain exactly one image.
    """
    match = None if name.endswith(("-dbg", "-dbgsym")) else _INSTALLED.fullmatch(name)
    release = None if match is None else (match.group(1) or match.group(2))
    if release is None or _IMAGE_RELEASE.match(release) is None:
        return None
    return release.removesuffix("-unsigned").removesuffix("-signed")


def kernel_dependency(depends: str) -> tuple[str, str | None] | None:
    """Returns the kernel image among a package's dependencies (``a | b, c (= 1)``), and its version if the dependency
    asks for exactly one.
    """
    for relation in re.split(r"[,|]", depends):
        # A hostile name does not match. A field has 1 MB at most; a kernel's relation has some 60 letters.
        match = _DEPENDENCY.fullmatch(" ".join(relation[:_MAX_RELATION].split()))
        if match is not None:
            return match.group(1), match.group(3) if match.group(2) == "=" else None
    return None


def _refuse(path: str, name: str, depends: str) -> None:
    for prefix, what in _NO_KERNEL.items():
        if name == prefix or name.startswith((f"{prefix}-", f"{prefix}.")):
            raise PackageError(f"{path}: {name} holds no kernel: {what}")
    if not _KERNEL.fullmatch(name):
        raise PackageError(f"{path}: {name} is no kernel package")
    if _IMAGE_RELEASE.search(name) is None and (needs := kernel_dependency(depends)) is not None:
        raise MetapackageError(path, name, *needs)


def read_deb(path: Path) -> KernelPackage:
    """Reads a Debian package. Raises PackageError if the file is not one, is broken, or contains no kernel
    (MetapackageError).
    """
    with _open(path) as archive:
        control = _control(archive)
        package = control["Package"]
        _refuse(str(path), package, control.get("Depends", ""))
        contents = _contents(archive, package)
        return KernelPackage(
            path=str(path),
            name=package,
            version=control["Version"],
            architecture=control.get("Architecture", "all"),
            source=control.get("Source", package),
            changelog=contents.changelog,
            config=contents.config,
            image=contents.image,
            is_file=True,
        )
