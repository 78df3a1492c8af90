"""The facts of a build string (``uname -v``) or a signature about a release, and their contradictions to it."""

from __future__ import annotations

import re

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.release.number import Candidate
from tailcall_audit.analyzer.kernelfiles.release.schemes import Matched, settle_command
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError, shown
from tailcall_audit.analyzer.kernelfiles.release.uname import of_unknown_vendor
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = ["stated_version", "with_build", "with_signature", "with_unknown_build"]

_UPLOAD = re.compile(r"~(?:bpo|deb)\d\S*$|\+b\d+$", re.ASCII)
"""The suffix of a backport (``6.1.172-1~deb11u1``) or a rebuild (``+b1``), which is written after the version of the
original upload.
"""


_SERIES = re.compile(r"\d+\.\d+(?![\d.])(?!-rc\d)", re.ASCII)


def stated_version(matched: Matched, text: str) -> UpstreamVersion:
    """Returns the version of the stable release in a build string or a signature; raises ReleaseError if no kernel has
    it.
    """
    stable = matched.parts.get("stable") or ""
    try:
        return parse_version(stable.replace("~", "-"))
    except ValueError as error:
        raise ReleaseError(f"{shown(text)}: {shown(stable)} is no kernel version") from error


def _contradicted(release: KernelRelease, says: str, text: str) -> KernelRelease:
    """Returns the release of a kernel about which two statements disagree: its version is unknown."""
    note = f"the release {release.release} and {says} contradict each other: the version of this kernel is unknown"
    return KernelRelease(
        text=text,
        release=release.release,
        version=release.version,
        proof=Proof.NOTHING,
        vanilla_like=False,
        architecture=release.architecture,
        notes=(note,),
        settle="uname -a   on that host, whole and of one boot",
        own_patches=True,
    )


def _names_series_of(release: KernelRelease, version: UpstreamVersion) -> bool:
    """Returns True for a release that names a series, and a build string that names a candidate of it.

    A kernel's own release has a sublevel or names its candidate. Debian's 7.3-cloud-amd64 of experimental is 7.3~rc7.
    """
    return version.rc is not None and _SERIES.match(release.release) is not None


def _sublevels_differ(release: KernelRelease, version: UpstreamVersion) -> bool:
    """Returns True if a release has a sublevel (the zero before an ABI number does not count) and the build string has
    another one.
    """
    carries = release.proof is not Proof.BASE and not _names_series_of(release, version)
    return carries and (release.version.sublevel != version.sublevel or release.version.rc != version.rc)


def with_build(release: KernelRelease | None, matched: Matched, text: str, catalog: Catalog) -> KernelRelease:
    """Returns a release with the package that a distribution's build string names: ``Debian 6.1.170-3 (2026-05-08)``."""
    distribution, parts = matched.distribution, matched.parts
    package = parts.get("version") or ""
    version = stated_version(matched, text)
    says = f"the {distribution.title} package {package}"
    if release is not None and release.version.branch != version.branch:
        raise ReleaseError(f"{shown(text)}: the release {release.release} and {says} are of different series")
    if release is not None:
        known = {entry.name: entry.either_of for entry in catalog.distributions}
        names_one = release.distro in (None, distribution.name) or _names_series_of(release, version)
        alike = names_one or distribution.name in known.get(release.distro or "", ()) or release.proof is Proof.BASE
        names = {build.package for build in release.builds}
        other_abi = bool(names) and distribution.name == release.distro and _UPLOAD.sub("", package) not in names
        if _sublevels_differ(release, version) or not alike or other_abi:
            return _contradicted(release, says, text)
    found = release or KernelRelease(text, package, version, Proof.EXACT)
    return found._replace(
        version=version,
        proof=matched.form.proof,
        vanilla_like=not distribution.frozen,
        distro=distribution.name,
        package=package,
        modified=(),
        local=None,
        notes=(matched.note,),
        settle=None,
        own_patches=not distribution.surveyed,
        lineage=(distribution.name,),
        builds=(),
        whole_series=None,
    )


def with_unknown_build(release: KernelRelease, build: Candidate, text: str) -> KernelRelease:
    """Returns a release with the package in the build string of an unknown distribution: the kernel is from that
    vendor.
    """
    says = f"{build.word} in its build string"
    if release.version.branch != build.version.branch:
        raise ReleaseError(f"{shown(text)}: the release {release.release} and {says} are of different series")
    if _sublevels_differ(release, build.version):
        return _contradicted(release, says, text)
    unknown = of_unknown_vendor(release.release, release.version.base, f"{build.word} into its build string", text)
    return unknown._replace(architecture=release.architecture, flavour=release.flavour)


def with_signature(release: KernelRelease | None, matched: Matched, text: str) -> KernelRelease:
    """Returns a release with the package and the stable release that a signature names: ``Ubuntu 5.15.0-79.86-generic
    5.15.111``.
    """
    distribution, parts = matched.distribution, matched.parts
    version = stated_version(matched, text)
    package = parts["version"] or ""
    name = re.sub(r"^(\d+\.\d+\.\d+-\d+)\.\d+(?:~[\d.]+)?(?:\+\w+)?", r"\1", package)
    if release is not None and not release.release.startswith(name.rsplit("-", 1)[0]):
        return _contradicted(release, f"the signature of {distribution.title}'s {package}", text)
    upload = re.match(r"\d+\.\d+\.\d+-\d+\.[\d.~]+", package)
    flavour = name.split("-", 2)[2] if name.count("-") > 1 else None
    found = (
        release
        if release is not None and release.distro == distribution.name
        else KernelRelease(text, package if release is None else release.release, version, Proof.PATCHED)
    )
    return found._replace(
        version=version,
        proof=matched.form.proof,
        vanilla_like=not distribution.frozen,
        distro=distribution.name,
        lineage=(distribution.name,),
        package=package,
        flavour=found.flavour or flavour,
        notes=(matched.note,),
        settle=settle_command(distribution, name, flavour, upload.group().rstrip("~.") if upload else None),
        own_patches=not distribution.surveyed,
    )
