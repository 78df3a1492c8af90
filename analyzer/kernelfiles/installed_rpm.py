"""The kernels installed on a host with RPM, as listed by its own ``rpm``, because the database has had three formats so
far.
"""

from __future__ import annotations

from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, PackageError
from tailcall_audit.analyzer.kernelfiles.places import config_places, image_release, without_copies
from tailcall_audit.analyzer.kernelfiles.rpm import is_kernel
from tailcall_audit.analyzer.paths import is_file
from tailcall_audit.probes.processes import ProgramError, find_program, missing_program, run
from tailcall_audit.probes.reading import open_file

__all__ = ["has_rpm_database", "rpm_kernels"]

_PLACES = ("var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm")
_FILES = ("rpmdb.sqlite", "Packages", "Packages.db")
_TIMEOUT = 120
_MAX_FILE = 16 << 20


def _database(root: Path) -> Path | None:
    """Returns the folder of the RPM database; None if there is none, or it is empty."""
    return next((root / place for place in _PLACES if any(is_file(root / place / name) for name in _FILES)), None)


def has_rpm_database(root: Path) -> bool:
    """Returns True if the host keeps an RPM database that could hold kernels."""
    return _database(root) is not None


def _rpm(database: Path, *arguments: str) -> str:
    """Returns the output of an ``rpm`` query on a database; raises PackageError if it fails."""
    rpm = find_program("rpm")
    if rpm is None:
        raise PackageError(f"{database}: an RPM database, and {missing_program('rpm')} to read it with: install rpm")
    try:
        done = run([rpm, "--dbpath", str(database.absolute()), *arguments], timeout=_TIMEOUT)
    except ProgramError as error:
        raise PackageError(f"{database}: {error}") from error
    if done.status != 0:
        raise PackageError(f"{database}: rpm {' '.join(arguments[:2])}: {done.complaint()}")
    return done.output.decode("utf-8", "replace")


def _config(root: Path, release: str) -> tuple[str, bytes] | None:
    for place in config_places(release):
        try:
            with open_file(root / place) as file:
                return str(root / place), file.read(_MAX_FILE)
        except OSError:
            continue
    return None


def rpm_kernels(root: Path = Path("/")) -> tuple[KernelPackage, ...]:
    """Returns every installed kernel, by name and then in the order of installation; empty if there is no RPM database."""
    database = _database(root)
    if database is None:
        return ()
    form = r"%{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\t%{SOURCERPM}\n"
    rows = [line.split("\t") for line in _rpm(database, "-qa", "--qf", form, "kernel*").splitlines()]
    have = {(row[0], row[1]) for row in rows if len(row) == 4}
    found = []
    for name, version, architecture, source in (row for row in rows if len(row) == 4):
        # A split kernel has its image in the -core package.
        if not is_kernel(name) or (f"{name}-core", version) in have:
            continue
        package = f"{name}-{version}.{architecture}"
        listed = (line.lstrip("/") for line in _rpm(database, "-ql", package).splitlines())
        image = next(iter(without_copies(place for place in listed if image_release(place))), None)
        release = image_release(image or "")
        if image is None or release is None:
            continue
        found.append(
            KernelPackage(
                path=package,
                name=name,
                version=version,
                architecture=architecture,
                source=source,
                changelog=("%changelog", _rpm(database, "-q", "--changelog", package).encode()),
                config=_config(root, release),
                image=image,
                release=release,
                is_rpm=True,
            )
        )
    return tuple(sorted(found, key=lambda package: package.name))
