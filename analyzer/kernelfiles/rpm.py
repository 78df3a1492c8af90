"""RPM packages: the header holds names, changelog, and the files with their digests; the payload, a compressed cpio
archive, is read as a stream, up to the wanted file only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tailcall_audit.analyzer.kernelfiles.compression import Decompressed
from tailcall_audit.analyzer.kernelfiles.cpio import CpioError, read_cpio
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, PackageError
from tailcall_audit.analyzer.kernelfiles.places import image_release, is_config, without_copies
from tailcall_audit.analyzer.kernelfiles.rpm_header import MAGIC, Header, HeaderError, Tag, read_header
from tailcall_audit.probes.reading import open_file

__all__ = ["MAGIC", "changelog_text", "is_kernel", "read_rpm", "read_rpm_file"]

_KERNEL = re.compile(
    r"kernel(?:-(?:default|azure|uek|rt|64k|lt|ml|lts|mainline|longterm|kvmsmall|pae|desktop))?(?:-(?:core|base))?"
)
"""The packages that hold an image: no modules, no debug builds."""
_MAX_UNPACKED = 2 << 30
_MAX_CONFIG = 16 << 20
_DIGESTS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512"}
"""The algorithms of FILEDIGESTALGO (RFC 4880, 9.4); without that tag it is MD5."""
_NO_KERNEL = {
    "kernel-headers": "headers of the C library's interface",
    "kernel-devel": "files to build modules with",
    "kernel-tools": "tools built beside the kernel",
    "kernel-doc": "documentation",
    "kernel-firmware": "firmware",
    "kernel-source": "sources; unpack them and audit the tree",
    "kernel-macros": "macros to build packages with",
}


class _Opened(NamedTuple):
    """An open package: its header, the digest in it of every file by its name without the first slash, and where the
    payload starts.
    """

    file: BinaryIO
    path: str
    header: Header
    files: dict[str, str]
    payload: int


@contextmanager
def _open(path: Path) -> Iterator[_Opened]:
    """Opens a package; turns errors of its format into PackageError."""
    try:
        with open_file(path) as file:
            header = read_header(file)
            yield _Opened(file, str(path), header, _files(header), file.tell())
    except HeaderError as error:
        raise PackageError(f"{path}: a broken RPM: {error}") from error
    except CpioError as error:
        raise PackageError(f"{path}: a broken RPM: its payload: {error}") from error
    except OSError as error:
        raise PackageError(f"{path}: cannot read: {error.strerror or error}") from error


def _files(header: Header) -> dict[str, str]:
    """Returns the digest of every file of the package; raises HeaderError if a name occurs twice."""
    folders = header.texts(Tag.DIRNAMES)
    names, places = header.texts(Tag.BASENAMES), header.numbers(Tag.DIRINDEXES)
    digests = header.texts(Tag.FILEDIGESTS) or [""] * len(names)
    if not len(names) == len(places) == len(digests) or any(place >= len(folders) for place in places):
        raise HeaderError("its list of files does not fit together")
    found = {
        f"{folders[place]}{name}".lstrip("/"): digest
        for name, place, digest in zip(names, places, digests, strict=True)
    }
    if len(found) < len(names):
        raise HeaderError("its list of files has a name twice")
    return found


def is_kernel(name: str) -> bool:
    """Returns True if a package of this name holds a kernel image."""
    return _KERNEL.fullmatch(name) is not None


def changelog_text(entries: Iterable[tuple[int, str, str]]) -> bytes:
    """Returns entries (seconds since 1970, author, text) as ``rpm -q --changelog`` prints them."""
    return "".join(
        f"* {datetime.fromtimestamp(day % (1 << 32), UTC):%a %b %d %Y} {author}\n{text}\n\n"
        for day, author, text in entries
    ).encode()


def _changelog(header: Header) -> bytes:
    days, authors, texts = (
        header.numbers(Tag.CHANGELOGTIME),
        header.texts(Tag.CHANGELOGNAME),
        header.texts(Tag.CHANGELOGTEXT),
    )
    if not len(days) == len(authors) == len(texts):
        raise HeaderError("its changelog does not fit together")
    return changelog_text(zip(days, authors, texts, strict=True))


def _payload_file(package: _Opened, place: str, limit: int) -> bytes:
    """Returns a file of the payload and stops reading there. Its digest must match the one in the header, as rpm
    demands, so a later file of the same name has no effect.
    """
    package.file.seek(package.payload)
    start = package.file.read(9)
    package.file.seek(package.payload)
    stream = Decompressed(package.file, start, f"{package.path}: a broken RPM: its payload", _MAX_UNPACKED)
    for name, size, content in read_cpio(stream):
        if name.removeprefix(".").lstrip("/") != place:
            continue
        if size > limit:
            raise PackageError(f"{package.path}: {place[:100]} has {size:,} bytes, which no such file has")
        data = content()
        algorithm = _DIGESTS.get(next(iter(package.header.numbers(Tag.FILEDIGESTALGO)), 1))
        if algorithm is None or hashlib.new(algorithm, data, usedforsecurity=False).hexdigest() != package.files[place]:
            raise PackageError(f"{package.path}: a broken RPM: {place[:100]} is not the file that its header names")
        return data
    raise PackageError(f"{package.path}: a broken RPM: its header names {place[:100]}, and its payload has none")


def read_rpm_file(path: Path, place: str, limit: int) -> bytes:
    """Returns one file of an RPM; raises PackageError if there is none, or if it is larger than `limit` bytes."""
    with _open(path) as package:
        if place not in package.files:
            raise PackageError(f"{path}: there is no {place} in it")
        return _payload_file(package, place, limit)


def _one(package: _Opened, found: list[str], what: str) -> str | None:
    """Returns the only one of these files; raises PackageError if there are several that differ."""
    if len({package.files[name] for name in found}) > 1:
        raise PackageError(
            f"{package.path}: it holds {len(found)} files that could each be its {what} ({', '.join(sorted(found)[:3])}):"
            " unpack it and audit them one by one"
        )
    return found[0] if found else None


def _refuse(path: str, name: str) -> None:
    for prefix, what in _NO_KERNEL.items():
        if name == prefix or name.startswith(f"{prefix}-"):
            raise PackageError(f"{path}: {name} holds no kernel: {what}")
    if not is_kernel(name) and not name.startswith("kernel-"):
        raise PackageError(f"{path}: {name} is no kernel package")


def read_rpm(path: Path) -> KernelPackage:
    """Reads an RPM. Raises PackageError if the file is not one, is broken, or contains no kernel."""
    with _open(path) as package:
        header = package.header
        name = header.text(Tag.NAME)
        _refuse(str(path), name)
        place = _one(package, list(filter(is_config, package.files)), "configuration")
        config = None if place is None else (f"/{place}", _payload_file(package, place, _MAX_CONFIG))
        changelog = _changelog(header)
        return KernelPackage(
            path=str(path),
            name=name,
            version=f"{header.text(Tag.VERSION)}-{header.text(Tag.RELEASE)}",
            architecture=header.text(Tag.ARCH) or "noarch",
            source=header.text(Tag.SOURCERPM),
            changelog=("%changelog", changelog) if changelog else None,
            config=config,
            image=_one(package, without_copies(name for name in package.files if image_release(name)), "kernel image"),
            is_rpm=True,
            is_file=True,
        )
