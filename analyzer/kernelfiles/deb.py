"""Debian packages: python-debian finds the parts, and the data part is read as a stream up to a bound.

Debian's *signed* images, which hosts run, are of the source linux-signed-amd64 with a version like 6.1.170+3 for linux
6.1.170-3, and have ``changelog.gz`` instead of ``changelog.Debian.gz``. Since 7.2 the image is in linux-binary-*.
"""

from __future__ import annotations

import logging
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from tailcall_audit.analyzer.kernelfiles.compression import Bounded, decompress, decompressing
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, MetapackageError, PackageError
from tailcall_audit.analyzer.libraries import Failure, debian_errors, tar_errors

if TYPE_CHECKING:
    from debian.deb822 import Deb822
    from debian.debfile import DebFile

__all__ = ["installed_image", "kernel_dependency", "read_deb", "read_deb_file"]

# python-debian logs a relation that it can't parse, raw; without a handler that goes to stderr, terminal escapes and all.
logging.getLogger("debian").addHandler(logging.NullHandler())
_MAX_UNPACKED = 2 << 30
"""The largest kernel package without debug symbols unpacks to some 500 MB."""
_MAX_FILE = 16 << 20
_MAX_CONTROL = 1 << 20
_KERNEL = re.compile(
    r"linux-(?:signed-)?(?:image|binary|modules|modules-extra|source|image-unsigned)-\S+|linux-source|(?:proxmox|pve)-kernel-\S+"
)
_NO_KERNEL = {
    "linux-libc-dev": "the headers of the C library's interface, of which no running kernel is made",
    "linux-doc": "documentation",
    "linux-perf": "a tool built beside the kernel",
    "linux-kbuild": "build tools",
    "linux-headers": "headers to build modules with; audit the image they belong to",
    "linux-base": "scripts shared by kernel packages",
    "linux-config": "configurations only; unpack one and use --config",
}
_DEPENDENCY = re.compile(r"linux-(?:image|binary)-\d[a-zA-Z0-9.+~-]*")
_INSTALLED = re.compile(r"linux-(?:image|binary)(?:-unsigned)?-(\d[^\s]*)|(?:proxmox|pve)-kernel-(\d\S*)")
_CHANGELOG = re.compile(r"usr/share/doc/[^/]+/changelog(?:\.Debian)?(?:\.gz|\.xz|\.zst)?")
_CONFIG = re.compile(r"(?:boot/config-[^/]+|(?:usr/)?lib/modules/[^/]+/config)")
_IMAGE = re.compile(r"(?:boot/vmlinu[xz]-[^/]+|(?:usr/)?lib/modules/[^/]+/vmlinu[xz])")


def _broken(path: str) -> Failure:
    return lambda words: PackageError(f"{path}: not a Debian package, or a broken one: {words}")


@contextmanager
def _opened(path: str) -> Iterator[DebFile]:
    """The parts of a package; raises PackageError where they cannot be found."""
    with debian_errors(_broken(path)):
        from debian.debfile import DebFile

        archive = DebFile(filename=path)
    with archive:
        yield archive


def _members(archive: DebFile, path: str, part: str = "data") -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size and a reader of the content of every regular file in a part of the package, read as a stream."""
    with debian_errors(_broken(path)):
        name = next((item for item in archive.getnames() if item.startswith(f"{part}.tar")), None)
        if name is None:
            raise PackageError(f"{path}: not a Debian package: no {part} part")
        member = cast(IO[bytes], archive.getmember(name))
        start = member.read(6)
        member.seek(0)
    too_much = PackageError(f"{path}: unpacks to more than {_MAX_UNPACKED >> 30} GiB, which no kernel package does")
    stream = Bounded(decompressing(member, start, f"{path}:{name}"), _MAX_UNPACKED, too_much)
    # An error of whoever takes the members does not pass through here.
    with tar_errors(_broken(path)), tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
        for item in tar:
            if item.isfile():

                def content(item: tarfile.TarInfo = item) -> bytes:
                    with tar_errors(_broken(path)):
                        file = tar.extractfile(item)
                        return b"" if file is None else file.read()

                yield item.name.removeprefix("./"), item.size, content


def _control(archive: DebFile, path: str) -> Deb822:
    """The fields of the control file. python-debian's own reader starts the program unzstd, wherever PATH finds one."""
    from debian.deb822 import Deb822

    for place, size, content in _members(archive, path, "control"):
        if place == "control":
            if size > _MAX_CONTROL:
                raise PackageError(f"{path}: control has {size:,} bytes, which no control file has")
            data = content()
            with debian_errors(_broken(path)):
                return Deb822(data)
    raise PackageError(f"{path}: not a Debian package: no control file")


def _contents(archive: DebFile, path: str) -> tuple[dict[str, tuple[str, bytes]], str | None]:
    """The changelog and configuration in the data part, and the name of the image."""
    found: dict[str, tuple[str, bytes]] = {}
    image: str | None = None
    for place, size, content in _members(archive, path):
        if _IMAGE.fullmatch(place):
            image = place
        kind = "changelog" if _CHANGELOG.fullmatch(place) else "config" if _CONFIG.fullmatch(place) else None
        if kind is None or kind in found:
            continue
        if size > _MAX_FILE:
            raise PackageError(f"{path}: {place} has {size:,} bytes, which no {kind} has")
        found[kind] = (place, decompress(content(), f"{path}:{place}", _MAX_FILE))
    return found, image


def read_deb_file(path: Path, place: str, limit: int) -> bytes:
    """One file of a Debian package; raises PackageError where it isn't there, or larger than `limit` bytes."""
    with _opened(str(path)) as archive:
        for name, size, content in _members(archive, str(path)):
            if name == place:
                if size > limit:
                    raise PackageError(f"{path}: {place} has {size:,} bytes, which no kernel image has")
                return content()
    raise PackageError(f"{path}: there is no {place} in it")


def installed_image(name: str) -> str | None:
    """The ``uname -r`` of the image that a package of this name installs; None where it is no package of one image."""
    match = None if name.endswith(("-dbg", "-dbgsym")) else _INSTALLED.fullmatch(name)
    return None if match is None else (match.group(1) or match.group(2)).removesuffix("-unsigned")


def kernel_dependency(depends: str) -> tuple[str, str | None] | None:
    """The kernel image among a package's dependencies, and the version when exactly one will do."""
    from debian.deb822 import PkgRelation

    with debian_errors(lambda words: PackageError(f"Depends: {depends[:100]!r}: {words}")):
        relations = PkgRelation.parse_relations(depends) if depends.strip() else []
    # A relation that does not parse comes back raw, so a hostile name is filtered here.
    for alternatives in relations:
        for relation in alternatives:
            if _DEPENDENCY.fullmatch(relation["name"]):
                constraint = relation["version"]
                exact = constraint is not None and constraint[0] == "="
                return relation["name"], constraint[1] if constraint is not None and exact else None
    return None


def _refuse(path: str, name: str, depends: str) -> None:
    for prefix, what in _NO_KERNEL.items():
        if name == prefix or name.startswith((f"{prefix}-", f"{prefix}.")):
            raise PackageError(f"{path}: {name} holds no kernel: {what}")
    if not _KERNEL.fullmatch(name):
        raise PackageError(f"{path}: {name} is no kernel package")
    if re.search(r"\d+\.\d+", name) is None and (needs := kernel_dependency(depends)) is not None:
        raise MetapackageError(path, name, *needs)


def read_deb(path: Path) -> KernelPackage:
    """Read a Debian package; raises PackageError when it is none, is broken, or holds no kernel (MetapackageError)."""
    with _opened(str(path)) as archive:
        control = _control(archive, str(path))
        package, version = str(control.get("Package", "")), str(control.get("Version", ""))
        if not package or not version:
            raise PackageError(f"{path}: a broken package: its control file names no Package or no Version")
        _refuse(str(path), package, str(control.get("Depends", "")))
        found, image = _contents(archive, str(path))
        return KernelPackage(
            path=str(path),
            name=package,
            version=version,
            architecture=str(control.get("Architecture", "all")),
            source=str(control.get("Source", package)),
            changelog=found.get("changelog"),
            config=found.get("config"),
            image=image,
        )
