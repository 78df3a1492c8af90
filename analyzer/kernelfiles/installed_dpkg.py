"""The kernels installed on a Debian or Ubuntu host, from dpkg's database and the files beside it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.compression import decompress
from tailcall_audit.analyzer.kernelfiles.deb import installed_image, kernel_dependency
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, PackageError
from tailcall_audit.analyzer.kernelfiles.places import config_places, image_places
from tailcall_audit.analyzer.paths import is_file
from tailcall_audit.probes.reading import open_file

__all__ = ["dpkg_kernels", "follow_installed", "has_dpkg_database"]

_MAX_STEPS = 3
"""Metapackages that lead to one another."""
_STATUS = "var/lib/dpkg/status"
_MAX_FILE = 16 << 20


def _read(root: Path, *places: str) -> tuple[str, bytes] | None:
    """Returns the first of these files that exists, decompressed."""
    for place in places:
        path = root / place
        try:
            if is_file(path):
                with open_file(path) as file:
                    return str(path), decompress(file.read(_MAX_FILE + 1), str(path), _MAX_FILE)
        except OSError:
            continue
    return None


def _paragraphs(root: Path) -> Iterator[dict[str, str]]:
    from debian.deb822 import Deb822

    try:
        with io.TextIOWrapper(open_file(root / _STATUS), encoding="utf-8", errors="replace") as file:
            # python-apt is not on every host, and Deb822 reads the same format without it.
            for paragraph in Deb822.iter_paragraphs(file, use_apt_pkg=False):
                yield {str(key): str(value) for key, value in paragraph.items()}
    except OSError as error:
        raise PackageError(f"{root / _STATUS}: cannot read dpkg's database: {error.strerror or error}") from error


def dpkg_kernels(root: Path = Path("/")) -> tuple[KernelPackage, ...]:
    """Returns the kernel images that are installed according to dpkg, by name; raises PackageError if there is no dpkg."""
    found = []
    for paragraph in _paragraphs(root):
        name = paragraph.get("Package", "")
        release = installed_image(name)
        if release is None or not paragraph.get("Status", "").endswith(" ok installed"):
            continue
        image = next((place for place in image_places(release) if is_file(root / place)), None)
        documents = f"usr/share/doc/{name}"
        found.append(
            KernelPackage(
                path=name,
                name=name,
                version=paragraph.get("Version", ""),
                architecture=paragraph.get("Architecture", "all"),
                source=paragraph.get("Source", name),
                changelog=_read(root, f"{documents}/changelog.Debian.gz", f"{documents}/changelog.gz"),
                config=_read(root, *config_places(release)),
                image=image,
                release=release,
            )
        )
    return tuple(sorted(found, key=lambda package: package.name))


def has_dpkg_database(root: Path) -> bool:
    """Returns True if the host is one of dpkg's."""
    return is_file(root / _STATUS)


def follow_installed(name: str, kernels: Sequence[KernelPackage], root: Path) -> KernelPackage | None:
    """Returns the installed kernel that an installed metapackage depends on; None if the package isn't installed.

    A metapackage may depend on another one: proxmox-default-kernel needs proxmox-kernel-6.8, which needs the kernel.
    """
    needed = {
        paragraph.get("Package"): kernel_dependency(paragraph.get("Depends", ""))
        for paragraph in _paragraphs(root)
        if paragraph.get("Status", "").endswith(" ok installed")
    }
    if name not in needed:
        return None
    needs = needed[name]
    for _ in range(_MAX_STEPS):
        followed = next((package for package in kernels if needs is not None and package.name == needs[0]), None)
        if followed is not None:
            return replace(followed, via=name)
        needs = None if needs is None else needed.get(needs[0])
    raise PackageError(f"{name} is installed and holds no kernel itself")
