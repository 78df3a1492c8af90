"""Checks that everything in a package names the same kernel: the package's version and name, its image's file and its
image's banner.

If two of them differ, the version of the kernel is unknown: the package may be mislabelled, repacked, or made to
look fixed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.deb import installed_image
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage
from tailcall_audit.analyzer.kernelfiles.places import image_release
from tailcall_audit.analyzer.kernelfiles.release.package_release import source_version
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError
from tailcall_audit.analyzer.subjects.image import OpenImage

__all__ = ["contradictions", "unproven"]

"""boot/vmlinuz-6.1.0-47-amd64, lib/modules/5.14.0-427.el9.x86_64/vmlinuz"""
_KERNEL = re.compile(r"\d+\.\d+")


def contradictions(
    catalog: Catalog, package: KernelPackage, release: KernelRelease, image: OpenImage | None
) -> Iterator[str]:
    """Yields, in words, each part of a package that names another kernel than its version does. `release` is that of
    its version.
    """
    named = installed_image(package.name)
    try:
        other = None if named is None or not _KERNEL.match(named) else parse_release(named, catalog)
    except ReleaseError:
        other = None
    if other is not None and _differ(release, other):
        yield f"its version {package.version} is of {release.version} and its name {package.name} of {other.version}"
    if image is not None:
        yield from _of_image(package, release, image)


def unproven(package: KernelPackage, release: KernelRelease, reasons: list[str]) -> KernelRelease:
    """Returns a release that proves nothing, because of what contradicts it."""
    note = f"CONTRADICTION: {'; '.join(reasons)}: which kernel this package is is not known, so nothing is proven by its version"
    return release._replace(
        proof=Proof.NOTHING,
        vanilla_like=False,
        notes=(note,),
        settle=f"tailcall-audit --package {package.path} --confirm=vm   boots the image in it"
        if package.image
        else "get the package from its distribution",
        builds=(),
        built=None,
        whole_series=None,
    )


def _of_image(package: KernelPackage, release: KernelRelease, image: OpenImage) -> Iterator[str]:
    banner = image.release
    if banner.proof is Proof.NOTHING:
        yield f"its image: {'; '.join(banner.notes) or image.banner[:120]}"
        return
    file = None if package.image is None else image_release(package.image)
    if file is not None and _KERNEL.match(file) and file != banner.release:
        yield f"its image is {package.image}, and the banner in it says {banner.release}"
    if _differ(release, banner) or _other_package(package, release, banner):
        yield f"the package is {package.version}, and the image in it says {banner.package or banner.release}"
    known = {name for name in (release.distro, *release.lineage) if name}
    theirs = {name for name in (banner.distro, *banner.lineage) if name}
    if known and theirs and not known & theirs:
        yield f"the package is one of {release.distro}, and the image in it one of {banner.distro}"


def _differ(one: KernelRelease, other: KernelRelease) -> bool:
    """Returns True if two releases cannot be the same. An ABI number names only the series."""
    if Proof.NOTHING in (one.proof, other.proof):
        return False
    if one.version.branch != other.version.branch:
        return True
    exact = Proof.BASE not in (one.proof, other.proof)
    return exact and one.version.sublevel != other.version.sublevel


def _other_package(package: KernelPackage, release: KernelRelease, banner: KernelRelease) -> bool:
    """Returns True if the banner names another version of the package than the package does."""
    if release.distro is None or release.distro != banner.distro:
        return False
    if package.is_rpm:
        # The banner of an RPM has its version and release; SUSE's without the count of the rebuilds at the end.
        version = re.sub(r"^\d+:", "", package.version)
        return not any(
            re.match(rf"{re.escape(text)}(?!\d)", banner.release)
            for text in (version, version.rpartition(".")[0] or version)
        )
    return banner.package is not None and source_version(banner.package) != source_version(package.version)
