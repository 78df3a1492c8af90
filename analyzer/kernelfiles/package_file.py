"""Reads a package file of any kind."""

from __future__ import annotations

from dataclasses import replace
from glob import escape
from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, MetapackageError, PackageError
from tailcall_audit.analyzer.paths import Kind, check_file, expanded, kind_of
from tailcall_audit.probes.reading import open_file

__all__ = ["read_package"]

_MAX_STEPS = 3
"""Metapackages that lead to one another."""


def _beside(path: Path, metapackage: MetapackageError, depth: int) -> KernelPackage | None:
    """Returns the kernel that a metapackage depends on, from a file of the same folder. Raises PackageError if several
    files would do: it isn't known which one a host would get.
    """
    from tailcall_audit.analyzer.kernelfiles.deb import read_deb

    found = []
    # apt names files PACKAGE_VERSION_ARCHITECTURE.deb; what is inside decides.
    for file in sorted(path.parent.glob(f"{escape(metapackage.needs)}_*.deb")):
        try:
            package = read_deb(file)
        except MetapackageError as another:
            # proxmox-default-kernel needs proxmox-kernel-6.8, which needs the kernel.
            package = _follow(file, another, depth + 1)
        named = package.via or package.name
        if named == metapackage.needs and metapackage.version in (None, package.version):
            found.append(package)
    if len({package.version for package in found}) > 1:
        names = ", ".join(package.path for package in found)
        raise PackageError(f"{path}: {metapackage.name} does not say which version it needs: audit one of {names}")
    return found[0] if found else None


def _follow(path: Path, metapackage: MetapackageError, depth: int = 0) -> KernelPackage:
    """Returns the kernel that a metapackage depends on, beside it or installed; raises PackageError if it is in neither
    place.
    """
    from tailcall_audit.analyzer.kernelfiles.installed import find_installed

    if depth > _MAX_STEPS:
        raise metapackage
    found = _beside(path, metapackage, depth)
    if found is None:
        exact = "" if metapackage.version is None else f"={metapackage.version}"
        try:
            found = find_installed(f"{metapackage.needs}{exact}")
        except PackageError:
            raise metapackage from None
    return replace(found, via=metapackage.name)


def read_package(name: str) -> KernelPackage:
    """Reads a kernel package: a file, recognised by its first bytes, or the name of an installed one; raises
    PackageError.
    """
    path = expanded(name)
    if kind_of(path) is Kind.MISSING and "/" not in name and not name.endswith((".deb", ".rpm")):
        from tailcall_audit.analyzer.kernelfiles.installed import find_installed

        return find_installed(name)
    check_file(path, "give a .deb or .rpm file", PackageError)
    try:
        with open_file(path) as file:
            start = file.read(8)
    except OSError as error:
        raise PackageError(f"{path}: cannot read: {error.strerror or error}") from error
    if start == b"!<arch>\n":
        from tailcall_audit.analyzer.kernelfiles.deb import read_deb

        try:
            return read_deb(path)
        except MetapackageError as metapackage:
            return _follow(path, metapackage)
    from tailcall_audit.analyzer.kernelfiles.rpm import MAGIC, read_rpm

    if start[:4] == MAGIC:
        return read_rpm(path)
    raise PackageError(f"{path}: neither a Debian package nor an RPM")
