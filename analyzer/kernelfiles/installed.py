"""The kernels that are installed on a host, by either package manager."""

from __future__ import annotations

from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.installed_dpkg import dpkg_kernels, follow_installed, has_dpkg_database
from tailcall_audit.analyzer.kernelfiles.installed_rpm import has_rpm_database, rpm_kernels
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, NotInstalledError, PackageError

__all__ = ["find_installed", "installed_kernels"]


def installed_kernels(root: Path = Path("/")) -> tuple[KernelPackage, ...]:
    """Returns every installed kernel; raises PackageError if neither dpkg nor RPM has a database."""
    if not has_dpkg_database(root) and not has_rpm_database(root):
        raise PackageError(
            f"{root}: neither dpkg's database nor RPM's is here, so it is not known what is installed;"
            " audit the running kernel, or a package file"
        )
    # A Debian host may have an RPM database of some tool, and the other way round: both are read.
    return (*(dpkg_kernels(root) if has_dpkg_database(root) else ()), *rpm_kernels(root))


def find_installed(name: str, root: Path = Path("/")) -> KernelPackage:
    """Returns the installed kernel of this name, or of its metapackage's dependency; raises NotInstalledError if there
    is none.

    RPM keeps several versions of one name: the newest is meant unless ``NAME=VERSION`` says which.
    """
    wanted, _, version = name.partition("=")
    known = has_dpkg_database(root) or has_rpm_database(root)
    kernels = installed_kernels(root) if known else ()
    matches = [
        package for package in kernels if wanted in (package.name, package.path) and version in ("", package.version)
    ]
    if matches:
        return matches[-1]
    if has_dpkg_database(root) and (followed := follow_installed(wanted, kernels, root)) is not None:
        return followed
    have = ", ".join(f"{package.name} {package.version}" for package in kernels) or "none"
    raise NotInstalledError(f"{name}: neither a file nor an installed kernel package (installed: {have})")
