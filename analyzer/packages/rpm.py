"""RPM packages: rpmfile reads the header, which holds names, changelog and the list of files; the payload is not unpacked."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from analyzer.packages.model import KernelPackage, PackageError

__all__ = ["MAGIC", "read_rpm"]

MAGIC = b"\xed\xab\xee\xdb"
_LEAD = 96
_HEADER_MAGIC = b"\x8e\xad\xe8"
_MAX_HEADER = 64 << 20
"""A kernel's header holds its whole changelog and tens of thousands of file names: some 10 MB."""
_KERNEL = (
    "kernel",
    "kernel-core",
    "kernel-default",
    "kernel-uek",
    "kernel-lt",
    "kernel-ml",
    "kernel-rt",
    "kernel-azure",
)
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


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _texts(value: object) -> list[str]:
    return [_text(item) for item in value] if isinstance(value, list | tuple) else [_text(value)] if value else []


def _changelog(headers: Mapping[str, object]) -> bytes:
    """The changelog as ``rpm -q --changelog`` prints it."""
    times = headers.get("changelogtime")
    days = list(times) if isinstance(times, tuple | list) else [times] if isinstance(times, int) else []
    entries = zip(days, _texts(headers.get("authors")), _texts(headers.get("comments")), strict=False)
    return "".join(
        f"* {datetime.fromtimestamp(day % (1 << 32), UTC):%a %b %d %Y} {author}\n{text}\n\n"
        for day, author, text in entries
    ).encode()


def _image(headers: Mapping[str, object]) -> str | None:
    folders = _texts(headers.get("dirnames"))
    indexes = headers.get("dirindexes")
    places = list(indexes) if isinstance(indexes, tuple | list) else [indexes] if isinstance(indexes, int) else []
    for name, index in zip(_texts(headers.get("basenames")), places, strict=False):
        if name.startswith(("vmlinuz", "Image", "image-")) and 0 <= index < len(folders):
            return f"{folders[index]}{name}".lstrip("/")
    return None


def _refuse(path: str, name: str) -> None:
    for prefix, what in _NO_KERNEL.items():
        if name == prefix or name.startswith(f"{prefix}-"):
            raise PackageError(f"{path}: {name} holds no kernel: {what}")
    if name not in _KERNEL and not name.startswith("kernel-"):
        raise PackageError(f"{path}: {name} is no kernel package")


def read_rpm(path: Path) -> KernelPackage:
    """Read an RPM; raises PackageError when it is none, is broken, or holds no kernel."""
    import rpmfile

    try:
        with path.open("rb") as file:
            _check_headers(file.read(2 * _MAX_HEADER), str(path))
            file.seek(0)
            with rpmfile.open(fileobj=file) as archive:
                headers: Mapping[str, object] = dict(archive.headers)
    except PackageError:
        raise
    except Exception as error:
        # rpmfile has no error of its own: what is wrong in a header surfaces as whatever its code trips over.
        raise PackageError(f"{path}: a broken RPM: {error or type(error).__name__}") from error
    name = _text(headers.get("name"))
    _refuse(str(path), name)
    changelog = _changelog(headers)
    return KernelPackage(
        path=str(path),
        name=name,
        version=f"{_text(headers.get('version'))}-{_text(headers.get('release'))}",
        architecture=_text(headers.get("arch")) or "noarch",
        source=_text(headers.get("sourcerpm")),
        changelog=("%changelog", changelog) if changelog else None,
        config=None,
        image=_image(headers),
    )
