"""Finds the kernels in the package databases of a root file system, with their files."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.kernelfiles.compression import BrokenDataError, decompress
from tailcall_audit.analyzer.kernelfiles.deb import installed_image
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage
from tailcall_audit.analyzer.kernelfiles.places import config_places, image_places, image_release, without_copies
from tailcall_audit.analyzer.kernelfiles.roots.root import Root, RootError
from tailcall_audit.analyzer.kernelfiles.roots.rpmdb import rpm_headers
from tailcall_audit.analyzer.kernelfiles.rpm import changelog_text, is_kernel
from tailcall_audit.analyzer.kernelfiles.rpm_header import Header, HeaderError, Tag

__all__ = ["first_file", "packages_of"]

_STATUS = "var/lib/dpkg/status"
_MOST_STATUS = 256 << 20
_MOST_FILE = 16 << 20
_MOST_IMAGE = 512 << 20


def first_file(root: Root, limit: int, *places: str) -> tuple[str, bytes] | None:
    """Returns the path and the decompressed content of the first of these files that exists, None if none does."""
    for place in places:
        data = root.read(place, limit)
        if data is not None:
            try:
                return place, decompress(data, f"{root.label}:{place}", limit)
            except BrokenDataError as error:
                raise RootError(str(error)) from error
    return None


def _image(root: Root, release: str) -> str | None:
    return next((place for place in image_places(release) if root.read(place, _MOST_IMAGE) is not None), None)


def _config(root: Root, release: str) -> tuple[str, bytes] | None:
    return first_file(root, _MOST_FILE, *config_places(release))


def _of_dpkg(root: Root) -> Iterator[KernelPackage]:
    """Yields the kernel images that dpkg lists as installed."""
    from debian.deb822 import Deb822

    status = root.read(_STATUS, _MOST_STATUS) or b""
    for text in status.split(b"\n\n"):
        if not any(word in text[:200] for word in (b"Package: linux-image", b"-kernel-", b"Package: linux-")):
            continue
        fields = Deb822(text.decode("utf-8", "replace").splitlines())
        name = str(fields.get("Package", ""))
        release = installed_image(name)
        if release is None or not str(fields.get("Status", "")).endswith(" ok installed"):
            continue
        documents = f"usr/share/doc/{name}"
        yield KernelPackage(
            path=name,
            name=name,
            version=str(fields.get("Version", "")),
            architecture=str(fields.get("Architecture", "all")),
            source=str(fields.get("Source", name)),
            changelog=first_file(root, _MOST_FILE, f"{documents}/changelog.Debian.gz", f"{documents}/changelog.gz"),
            config=_config(root, release),
            image=_image(root, release),
            release=release,
        )


def _files(header: Header) -> list[str]:
    folders, names, places = header.texts(Tag.DIRNAMES), header.texts(Tag.BASENAMES), header.numbers(Tag.DIRINDEXES)
    if len(names) != len(places) or any(place >= len(folders) for place in places):
        raise HeaderError("its list of files does not fit together")
    return [f"{folders[place]}{name}".lstrip("/") for name, place in zip(names, places, strict=True)]


def _of_rpm(root: Root) -> Iterator[KernelPackage]:
    """Yields the kernels that RPM lists as installed."""
    headers = [header for header in rpm_headers(root) if header.text(Tag.NAME).startswith("kernel")]
    have = {(header.text(Tag.NAME), header.text(Tag.VERSION), header.text(Tag.RELEASE)) for header in headers}
    for header in headers:
        name, version, release = header.text(Tag.NAME), header.text(Tag.VERSION), header.text(Tag.RELEASE)
        # If a kernel consists of several packages, the image is in the -core package.
        if not is_kernel(name) or (f"{name}-core", version, release) in have:
            continue
        image = next(iter(without_copies(place for place in _files(header) if image_release(place))), None)
        booted = image_release(image or "")
        if image is None or booted is None:
            continue
        days, authors, texts = (
            header.numbers(Tag.CHANGELOGTIME),
            header.texts(Tag.CHANGELOGNAME),
            header.texts(Tag.CHANGELOGTEXT),
        )
        changelog = changelog_text(zip(days, authors, texts, strict=False))
        yield KernelPackage(
            path=f"{name}-{version}-{release}.{header.text(Tag.ARCH) or 'noarch'}",
            name=name,
            version=f"{version}-{release}",
            architecture=header.text(Tag.ARCH) or "noarch",
            source=header.text(Tag.SOURCERPM),
            changelog=("%changelog", changelog) if changelog else None,
            config=_config(root, booted),
            image=image if root.read(image, _MOST_IMAGE) is not None else _image(root, booted),
            release=booted,
            is_rpm=True,
        )


def packages_of(root: Root) -> Iterator[KernelPackage]:
    """Yields every installed kernel. Raises RootError if a database is broken."""
    yield from _of_dpkg(root)
    try:
        yield from _of_rpm(root)
    except HeaderError as error:
        raise RootError(f"{root.label}: a broken database of RPM: {error}") from error
