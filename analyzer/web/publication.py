"""Where distributions publish the changelogs of their kernels, and which address holds that of one package.

The two addresses are those that apt itself uses (``apt-config dump Acquire::Changelogs``); an environment variable names a
mirror instead. What others publish lists no subjects, or is read from their repositories.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.model import AuditError

__all__ = ["Publication", "PublicationError", "find_publication", "host_distribution"]

_DEBIAN = "https://metadata.ftp-master.debian.org/changelogs"
_DEBIAN_VARIABLE = "TAILCALL_AUDIT_DEBIAN_CHANGELOGS"
_UBUNTU = "https://changelogs.ubuntu.com/changelogs"
_UBUNTU_VARIABLE = "TAILCALL_AUDIT_UBUNTU_CHANGELOGS"
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~-]*", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.ASCII)
_RELEASE = re.compile(r"[a-z0-9][a-z0-9.-]*", re.ASCII)
_UBUNTU_IMAGE = re.compile(
    r"linux-(?:image|modules|modules-extra|buildinfo)(?:-unsigned)?-(?P<base>\d+\.\d+)\.0-\d+-(?P<flavour>[a-z0-9]+)(?:-[a-z0-9-]+)?",
    re.ASCII,
)
_SHARED_FLAVOURS = ("generic", "lowlatency", "virtual")
"""Flavours that the source package ``linux`` itself builds; each other flavour has a source of its own, ``linux-aws``."""
_SPELLINGS = {"redhat": "rhel", "rocky": "rhel", "almalinux": "rhel", "alma": "rhel", "centos": "rhel", "ol": "oracle"} | {
    "opensuse-leap": "suse", "opensuse-tumbleweed": "suse", "opensuse": "suse", "sles": "suse", "amzn": "amazon"
} | {"azurelinux": "azure", "mariner": "azure", "archlinux": "arch"}  # fmt: skip
_REPOSITORY = "audit the repository with --repo URL (the folder above repodata), or that host's `rpm -q --changelog {kernel}` with --changelog FILE"
_ELSEWHERE: Mapping[str, str] = {
    "fedora": "Fedora lists no subjects: the package version is the stable release; audit it with --kernel 7.1.7-200.fc44, or " + _REPOSITORY.format(kernel="kernel-core"),
    "rhel": _REPOSITORY.format(kernel="kernel-core"),
    "oracle": _REPOSITORY.format(kernel="kernel-uek-core"),
    "suse": "the kernel-source repository has each patch with its Git-commit (--tree), or " + _REPOSITORY.format(kernel="kernel-default"),
    "amazon": _REPOSITORY.format(kernel="kernel"),
    "openeuler": _REPOSITORY.format(kernel="kernel"),
    "alpine": "Alpine has no changelog: the package version is the stable release; audit it with --kernel 6.6.100-0-lts",
    "arch": "Arch has no changelog: the package version is the stable release; audit it with --kernel 6.9.3-arch1-1",
    "azure": "its changelog lists no subjects; audit the release with --kernel 6.6.43.1-1.azl3, or the sources with --tree",
    "talos": "its release notes name the stable release; audit it with --kernel 6.18.45-talos",
    "flatcar": "its release notes name the stable release; audit it with --kernel 6.6.36-flatcar",
    "bottlerocket": "it builds Amazon's kernel; audit that package's changelog with --changelog FILE",
}  # fmt: skip


class PublicationError(AuditError):
    """A package whose changelog isn't published where this tool could read it. The message says what to do instead."""


class Publication(NamedTuple):
    """The address of a changelog, and the version to look up in it (None: its newest)."""

    url: str
    version: str | None
    note: str | None


def host_distribution(root: Path = Path("/")) -> str | None:
    """The distribution of this host as ``--distro`` spells it (``debian:bookworm``), from os-release(5)."""
    values: dict[str, str] = {}
    for place in ("etc/os-release", "usr/lib/os-release"):
        try:
            text = (root / place).read_text("utf-8", "replace")[: 1 << 16]
        except OSError:
            continue
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals:
                values[name.strip()] = value.strip().strip("\"'")
        break
    distro, codename = values.get("ID"), values.get("VERSION_CODENAME")
    return distro if not distro or not codename else f"{distro}:{codename}"


def _base(variable: str, default: str) -> str:
    base = os.environ.get(variable) or default
    if not base.startswith(("http://", "https://")):
        raise PublicationError(f"{variable}={base}: not an http or https address")
    return base.rstrip("/")


def _debian(name: str, version: str | None, release: str | None) -> Publication:
    """Debian keeps the changelog of each version of the source package, and of the newest in each suite."""
    base = _base(_DEBIAN_VARIABLE, _DEBIAN)
    if version is not None:
        # A signed image, 6.1.170+3, is made of the sources 6.1.170-3.
        signed = re.fullmatch(r"(\d[\d.]*(?:~rc\d+)?)\+(\d[^-]*)", version)
        source = f"{signed.group(1)}-{signed.group(2)}" if signed else version
        return Publication(f"{base}/main/l/linux/linux_{source}_changelog", source, None)
    if re.search(r"\d+\.\d+", name):
        raise PublicationError(
            f"{name}: not installed here, and its name does not contain its version: give {name}=VERSION (as in 6.1.170-3)"
        )
    if release is None:
        raise PublicationError(
            f"{name}: not installed here; say which of Debian's suites: --distro debian:bookworm, or {name}=VERSION"
        )
    note = f"the newest kernel of Debian's {release}"
    return Publication(f"{base}/main/l/linux/{release}_changelog", None, note)


def _ubuntu_source(name: str, version: str) -> str:
    """Ubuntu's source package of a binary one: ``linux``, ``linux-aws``, ``linux-hwe-6.8`` where the version names a release."""
    match = _UBUNTU_IMAGE.fullmatch(name)
    if match is None:
        return name
    flavour = match.group("flavour")
    backport = f"-{match.group('base')}" if "~" in version else ""
    if flavour in _SHARED_FLAVOURS:
        return f"linux-hwe{backport}" if backport else "linux"
    return f"linux-{flavour}{backport}"


def _ubuntu(name: str, version: str | None) -> Publication:
    if version is None:
        raise PublicationError(
            f"{name}: not installed here, and Ubuntu publishes changelogs by version: give {name}=VERSION (as in 6.8.0-35.35)"
        )
    source = _ubuntu_source(name, version)
    base = _base(_UBUNTU_VARIABLE, _UBUNTU)
    return Publication(f"{base}/pool/main/l/{source}/{source}_{version}/changelog", version, None)


def find_publication(package: str, distribution: str) -> Publication:
    """Where the changelog of ``NAME`` or ``NAME=VERSION`` is published; raises PublicationError where none is readable.

    `distribution` is a name, or ``name:release``.
    """
    distro, _, release = distribution.strip().lower().partition(":")
    distro = _SPELLINGS.get(distro, distro)
    name, _, given = package.partition("=")
    version = re.sub(r"^\d+:", "", given) or None
    if not _NAME.fullmatch(name) or (version is not None and not _VERSION.fullmatch(version)):
        raise PublicationError(f"{package}: not the name of a package, as in linux-image-amd64=6.1.170-3")
    if release and not _RELEASE.fullmatch(release):
        raise PublicationError(f"--distro {distribution}: not the name of a release, as in debian:bookworm")
    if distro == "debian":
        return _debian(name, version, release or None)
    if distro == "ubuntu":
        return _ubuntu(name, version)
    if distro in _ELSEWHERE:
        raise PublicationError(f"{package}: {_ELSEWHERE[distro]}")
    known = ", ".join(sorted(("debian", "ubuntu", *_ELSEWHERE)))
    raise PublicationError(
        f"{distribution}: not a distribution that this tool knows ({known}); give the package's changelog with --changelog FILE"
    )
