"""RPM packages: rpmfile reads the header, which holds names, changelog and the list of files; the payload, a compressed cpio
archive, is read as a stream and only up to the configuration."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tailcall_audit.analyzer.kernelfiles.compression import Bounded, decompressing
from tailcall_audit.analyzer.kernelfiles.cpio import CpioError, read_cpio
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, PackageError
from tailcall_audit.analyzer.libraries import rpmfile_errors

__all__ = ["MAGIC", "changelog_text", "is_kernel", "read_rpm", "read_rpm_file"]

MAGIC = b"\xed\xab\xee\xdb"
_LEAD = 96
_HEADER_MAGIC = b"\x8e\xad\xe8"
_MAX_HEADER = 64 << 20
"""A kernel's header holds its whole changelog and tens of thousands of file names: some 10 MB."""
_KERNEL = re.compile(
    r"kernel(?:-(?:default|azure|uek|rt|64k|lt|ml|lts|mainline|longterm|kvmsmall|pae|desktop))?(?:-(?:core|base))?"
)
"""The packages that hold an image: no modules, no debug builds."""
_CONFIG = re.compile(r"\.?/?(?:boot/config-[^/]+|(?:usr/)?lib/modules/[^/]+/config)")
_MAX_UNPACKED = 2 << 30
_MAX_CONFIG = 16 << 20
_NO_KERNEL = {
    "kernel-headers": "headers of the C library's interface",
    "kernel-devel": "files to build modules with",
    "kernel-tools": "tools built beside the kernel",
    "kernel-doc": "documentation",
    "kernel-firmware": "firmware",
    "kernel-source": "sources; unpack them and use --tree",
    "kernel-macros": "macros to build packages with",
}


def _check_headers(data: bytes, path: str) -> None:
    """Refuse counts and sizes that the header cannot hold, which would keep a reader busy for hours."""
    position = _LEAD
    for number in range(2):
        if data[position : position + 3] != _HEADER_MAGIC:
            raise PackageError(f"{path}: a broken RPM: header {number + 1} is not where it should be")
        entries, size = struct.unpack_from(">II", data, position + 8)
        start = position + 16
        if size > _MAX_HEADER or entries * 16 > len(data) - start or size > len(data):
            raise PackageError(
                f"{path}: a broken RPM: header {number + 1} claims {entries:,} entries and {size:,} bytes"
            )
        for index in range(entries):
            _, _, offset, count = struct.unpack_from(">IIiI", data, start + index * 16)
            if count > size or offset > size:
                raise PackageError(f"{path}: a broken RPM: an entry of header {number + 1} claims {count:,} values")
        position = start + entries * 16 + size
        position += -position % 8


class _Header(NamedTuple):
    """What matters of a header, in the types that it should have; `folders` and `indexes` say where each of `files` lies."""

    name: str
    version: str
    release: str
    architecture: str
    source: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    indexes: tuple[int, ...]
    times: tuple[int, ...]
    authors: tuple[str, ...]
    comments: tuple[str, ...]


def _text(headers: Mapping[str, object], key: str) -> str:
    """A tag that holds one string; "" where it is not there. Raises ValueError where it holds anything else."""
    value = headers.get(key)
    if value is None:
        return ""
    if not isinstance(value, bytes | str):
        raise ValueError(f"its tag {key} is not a string")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _texts(headers: Mapping[str, object], key: str) -> tuple[str, ...]:
    """A tag that holds strings; raises ValueError where it holds anything else."""
    value = headers.get(key)
    items = value if isinstance(value, list | tuple) else [] if value is None else [value]
    found = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in items]
    if not all(isinstance(item, str) for item in found):
        raise ValueError(f"its tag {key} does not hold strings")
    return tuple(map(str, found))


def _numbers(headers: Mapping[str, object], key: str) -> tuple[int, ...]:
    """A tag that holds numbers; raises ValueError where it holds anything else."""
    value = headers.get(key)
    items = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if not all(isinstance(item, int) for item in items):
        raise ValueError(f"its tag {key} does not hold numbers")
    return tuple(items)


def _typed(headers: Mapping[str, object]) -> _Header:
    """Check the types of a header's tags, which a broken one may give any; raises ValueError."""
    return _Header(
        name=_text(headers, "name"),
        version=_text(headers, "version"),
        release=_text(headers, "release"),
        architecture=_text(headers, "arch"),
        source=_text(headers, "sourcerpm"),
        folders=_texts(headers, "dirnames"),
        files=_texts(headers, "basenames"),
        indexes=_numbers(headers, "dirindexes"),
        times=_numbers(headers, "changelogtime"),
        authors=_texts(headers, "authors"),
        comments=_texts(headers, "comments"),
    )


def is_kernel(name: str) -> bool:
    """Whether a package of this name holds a kernel image."""
    return _KERNEL.fullmatch(name) is not None


def changelog_text(entries: Iterable[tuple[int, str, str]]) -> bytes:
    """Entries (seconds since 1970, author, text) as ``rpm -q --changelog`` prints them."""
    return "".join(
        f"* {datetime.fromtimestamp(day % (1 << 32), UTC):%a %b %d %Y} {author}\n{text}\n\n"
        for day, author, text in entries
    ).encode()


def _changelog(header: _Header) -> bytes:
    return changelog_text(zip(header.times, header.authors, header.comments, strict=False))


def _payload_file(
    file: BinaryIO, start: int, path: str, wanted: re.Pattern[str], limit: int
) -> tuple[str, bytes] | None:
    """A file of the payload, a compressed cpio archive that starts there: the first whose name matches. Read up to it and no further."""
    file.seek(start)
    magic = file.read(6)
    file.seek(start)
    too_much = PackageError(f"{path}: unpacks to more than {_MAX_UNPACKED >> 30} GiB, which no kernel package does")
    try:
        stream = Bounded(decompressing(file, magic, f"{path}: a broken RPM: its payload"), _MAX_UNPACKED, too_much)
        for name, size, content in read_cpio(stream):
            if wanted.fullmatch(name):
                if size > limit:
                    raise PackageError(f"{path}: {name[:100]} has {size:,} bytes, which no such file has")
                return name.removeprefix("."), content()
    except CpioError as error:
        raise PackageError(f"{path}: a broken RPM: its payload: {error}") from error
    return None


def read_rpm_file(path: Path, place: str, limit: int) -> bytes:
    """One file of an RPM; raises PackageError where it isn't there, or larger than `limit` bytes."""
    with path.open("rb") as file:
        _, payload = _headers(file, str(path))
        found = _payload_file(file, payload, str(path), re.compile(rf"\.?/?{re.escape(place)}"), limit)
    if found is None:
        raise PackageError(f"{path}: there is no {place} in it")
    return found[1]


def _headers(file: BinaryIO, path: str) -> tuple[_Header, int]:
    """The header of an RPM, and where its payload starts; raises PackageError."""
    import rpmfile

    def broken(words: str) -> PackageError:
        return PackageError(f"{path}: a broken RPM: {words}")

    try:
        _check_headers(file.read(2 * _MAX_HEADER), path)
        file.seek(0)
        with rpmfile_errors(broken), rpmfile.open(fileobj=file) as archive:
            headers, payload = dict(archive.headers), int(archive.data_offset)
        return _typed(headers), payload
    except (OSError, ValueError, struct.error) as error:
        raise broken(str(error)) from error


def _files(header: _Header) -> Iterator[tuple[str, str]]:
    """The name and folder of every file in the package."""
    for name, index in zip(header.files, header.indexes, strict=False):
        if 0 <= index < len(header.folders):
            yield name, header.folders[index]


def _image(header: _Header) -> str | None:
    for name, folder in _files(header):
        if name.startswith(("vmlinuz", "Image", "image-")):
            return f"{folder}{name}".lstrip("/")
    return None


def _refuse(path: str, name: str) -> None:
    for prefix, what in _NO_KERNEL.items():
        if name == prefix or name.startswith(f"{prefix}-"):
            raise PackageError(f"{path}: {name} holds no kernel: {what}")
    if not is_kernel(name) and not name.startswith("kernel-"):
        raise PackageError(f"{path}: {name} is no kernel package")


def read_rpm(path: Path) -> KernelPackage:
    """Read an RPM; raises PackageError when it is none, is broken, or holds no kernel."""
    with path.open("rb") as file:
        header, payload = _headers(file, str(path))
        _refuse(str(path), header.name)
        listed = any(_CONFIG.fullmatch(f"{folder}{base}") for base, folder in _files(header))
        config = _payload_file(file, payload, str(path), _CONFIG, _MAX_CONFIG) if listed else None
    changelog = _changelog(header)
    return KernelPackage(
        path=str(path),
        name=header.name,
        version=f"{header.version}-{header.release}",
        architecture=header.architecture or "noarch",
        source=header.source,
        changelog=("%changelog", changelog) if changelog else None,
        config=config,
        image=_image(header),
    )
