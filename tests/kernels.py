"""Real kernel sources for the tests: Debian's linux-source packages, of which only the files that matter are unpacked.

A machine's own apt sources may name one suite only, so a private apt configuration derives the others from the
machine's own Debian mirror. If there is none, the tests that need sources skip and say so. Nothing of the machine's
apt is changed.
"""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.readers.source import signature_files

RELEASES = ("bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable")
SUITES = ("bullseye", "bookworm", "trixie", "sid", "bookworm-backports", "trixie-backports")
SECURITY_SUITES = ("bullseye-security", "bookworm-security", "trixie-security")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
EXTRA_FILES = ("Makefile", "arch/Kconfig", "include/linux/bpf_types.h")
SIX = (
    "freplace-tailcallee",
    "x86-count-offset",
    "x86-trampoline-loop",
    "x86-hierarchy",
    "freplace-attached-panic",
    "freplace-loop",
)
"""The six pitfalls on x86-64, in their order; of pitfall 5 the panic."""


def cache_directory() -> Path:
    """Where sources are kept between runs."""
    base = os.environ.get("TAILCALL_AUDIT_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tailcall-audit-tests"
    )
    path = Path(base)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one test process at a time fetch a thing."""
    with (cache_directory() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _machine_mirrors() -> tuple[str, str] | None:
    """The machine's own Debian and Debian security mirrors, from its apt sources."""
    main = security = None
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    for path in files:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found = re.findall(r"^URIs:\s*(\S+)\s*\nSuites:\s*(.+)$", text, re.MULTILINE)
        found += re.findall(r"^deb(?:\s+\[[^\]]*\])?\s+(\S+)\s+(\S+)\s.*\bmain\b", text, re.MULTILINE)
        for uri, suites in found:
            words = set(suites.split())
            if words & {f"{name}-security" for name in RELEASES}:
                security = security or uri
            elif words & set(RELEASES):
                main = main or uri
    if main is None:
        return None
    return main, security or main.rstrip("/") + "-security"


@functools.cache
def _apt(architecture: str | None = None) -> list[str]:
    """The options of a private apt with the lists of all suites fetched, of another Debian architecture if one is
    named; skips where that is not possible.
    """
    mirrors = _machine_mirrors()
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None or mirrors is None:
        pytest.skip(
            "no Debian mirror on this machine: tests on Debian's kernel sources need apt-get and a Debian entry in its sources"
        )
    name = "apt" if architecture is None else f"apt-{architecture}"
    root = cache_directory() / name
    options = [
        f"Dir::Etc::sourcelist={root}/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        f"Dir::State={root}/state",
        f"Dir::Cache={root}/cache",
        f"Dir::State::status={root}/status",
        *([] if architecture is None else [f"APT::Architecture={architecture}", f"APT::Architectures={architecture}"]),
    ]
    arguments = [word for option in options for word in ("-o", option)]
    with locked(name):
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        signed = f"[signed-by={KEYRING}] " if KEYRING.is_file() else ""
        lines = [f"deb {signed}{mirrors[0]} {suite} main" for suite in SUITES] + [
            f"deb {signed}{mirrors[1]} {suite} main" for suite in SECURITY_SUITES
        ]
        (root / "sources.list").write_text("\n".join(lines) + "\n")
        stamp = root / "updated"
        if not stamp.exists():
            # A suite that the mirror lacks is no reason to do without the others.
            subprocess.run(["apt-get", *arguments, "-q", "update"], capture_output=True, timeout=1200, check=False)
            if not list((root / "state/lists").glob("*_dists_*_main_*_Packages*")):
                pytest.skip("the Debian mirror of this machine could not be reached: no package lists")
            stamp.touch()
    return arguments


@functools.cache
def available(package: str, architecture: str | None = None) -> tuple[str, ...]:
    """The versions of a package that the mirror has (for another Debian architecture, if one is named), newest first."""
    output = subprocess.run(
        ["apt-cache", *_apt(architecture), "madison", package],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    ).stdout
    return tuple(dict.fromkeys(line.split("|")[1].strip() for line in output.splitlines() if line.count("|") >= 2))


def kernel_source(series: str, version: str | None = None) -> tuple[Path, str]:
    """The files that matter of a linux-source package, and its version: the one asked for, else the newest on the
    mirror.
    """
    package = f"linux-source-{series}"
    kept = sorted(path.name for path in cache_directory().glob(f"linux-source-{series}.*") if _is_complete(path))
    if version is not None and f"linux-source-{version}" in kept:
        return cache_directory() / f"linux-source-{version}", version
    versions = available(package)
    if not versions:
        pytest.skip(f"the Debian mirror of this machine has no {package}")
    chosen = version if version in versions else versions[0]
    target = cache_directory() / f"linux-source-{chosen}"
    with locked(f"linux-source-{chosen}"):
        if not _is_complete(target):
            _fetch(package, chosen, target)
    return target, chosen


def package_file(package: str, version: str | None = None, architecture: str | None = None) -> Path:
    """A package file of the mirror: the version asked for, else the newest; of another Debian architecture, if one is
    named.

    One that is kept is not asked for again.
    """
    if version is not None:
        with locked(f"package-{package}-{version}"):
            kept = _kept_package(package, version, architecture)
        if kept is not None:
            return kept
    versions = available(package, architecture)
    if not versions:
        pytest.skip(f"the Debian mirror of this machine has no {package}")
    chosen = version if version in versions else versions[0]
    folder = cache_directory() / "packages"
    folder.mkdir(exist_ok=True)
    with locked(f"package-{package}-{chosen}"):
        kept = _kept_package(package, chosen, architecture)
        if kept is None:
            command = ["apt-get", *_apt(architecture), "-q", "download", f"{package}={chosen}"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200, check=False)
            kept = _kept_package(package, chosen, architecture)
            if done.returncode != 0 or kept is None:
                pytest.skip(f"{package} {chosen} could not be downloaded: {done.stderr.strip()[-200:]}")
    return kept


def _kept_package(package: str, version: str, architecture: str | None) -> Path | None:
    names = f"{package}_{version.replace(':', '%3a')}_{architecture or '*'}.deb"
    return next((cache_directory() / "packages").glob(names), None)


def _wanted_files() -> tuple[str, ...]:
    return (*signature_files(load_catalog()), *EXTRA_FILES)


def _is_complete(target: Path) -> bool:
    """Returns True if a source was unpacked with every file that these tests want: one that a series lacks was asked
    for all the same.
    """
    marker = target / ".complete"
    if not marker.is_file():
        return False
    asked = set(marker.read_text().split("\n"))
    return all(path in asked or (target / path).is_file() for path in _wanted_files())


def _fetch(package: str, version: str, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    download = target / ".download"
    download.mkdir()
    done = subprocess.run(
        ["apt-get", *_apt(), "-q", "download", f"{package}={version}"],
        cwd=download,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    archives = list(download.glob("*.deb"))
    if done.returncode != 0 or not archives:
        pytest.skip(f"{package} {version} could not be downloaded: {done.stderr.strip()[-200:]}")
    patterns = " ".join(f"'linux-source-*/{path}'" for path in _wanted_files())
    # Files that a series does not have make tar complain; what is there is unpacked all the same.
    script = (
        f"dpkg-deb --fsys-tarfile {archives[0].name} | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' "
        f"| tar -xJ -C .. --strip-components=1 --anchored --wildcards --no-wildcards-match-slash {patterns} 2>/dev/null; true"
    )
    subprocess.run(["bash", "-c", script], cwd=download, check=True, timeout=1200)
    if not (target / "Makefile").is_file():
        pytest.skip(f"{package} {version} could not be unpacked")
    shutil.rmtree(download)
    (target / ".complete").write_text("\n".join(_wanted_files()))
