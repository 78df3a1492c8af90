"""Reading a package file, whatever its kind."""

from __future__ import annotations

from pathlib import Path

from analyzer.packages.model import KernelPackage, PackageError

__all__ = ["read_package"]


def read_package(name: str) -> KernelPackage:
    """Read a kernel package: a file, told by its first bytes, or the name of an installed one; raises PackageError."""
    path = Path(name).expanduser()
    if not path.exists() and "/" not in name and not name.endswith((".deb", ".rpm")):
        from analyzer.packages.installed import find_installed

        return find_installed(name)
    if not path.is_file():
        raise PackageError(
            f"{path}: {'not a regular file' if path.exists() else 'no such file'}; give a .deb or .rpm file"
        )
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise PackageError(f"{path}: cannot read: {error.strerror or error}") from error
    if start == b"!<arch>\n":
        from analyzer.packages.deb import read_deb

        return read_deb(path)
    from analyzer.packages.rpm import MAGIC, read_rpm

    if start[:4] == MAGIC:
        return read_rpm(path)
    raise PackageError(f"{path}: neither a Debian package nor an RPM")
