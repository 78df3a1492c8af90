"""Finds out which kernel a package holds: the distribution by the source package, the release by the version.

Which source packages are kernels of which distribution is in `catalog/distributions/`. Any other package is from an
unknown vendor, even if its changelog or its name looks like a known distribution's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tailcall_audit.analyzer.architecture import without_rpm_architecture
from tailcall_audit.analyzer.catalog.distribution import Distribution
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Family
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = [
    "NoKernelPackageError",
    "distribution_of",
    "package_release",
    "rpm_release",
    "source_distribution",
    "source_version",
    "upstream_of",
]

_EPOCH = re.compile(r"\d+:")
_SIGNED = re.compile(r"(\d[\d.]*+~?[a-z0-9]*+)\+(\d\S*)", re.ASCII)
_UPSTREAM = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,6}))?", re.ASCII)
_KERNEL = re.compile(r"(?:linux|kernel)(?:-\S+)?|\S+-(?:linux|kernel)", re.ASCII)
_UNKNOWN_VENDOR = "unknown.vendor"
"""A suffix that no distribution uses."""


class NoKernelPackageError(AuditError):
    """A package that holds no kernel, or whose version names none."""


def source_version(text: str) -> str:
    """A version without its epoch, as the sources have it: a signed package's 6.1.170+3 is 6.1.170-3."""
    plain = _EPOCH.sub("", text, count=1) if _EPOCH.match(text) else text
    match = _SIGNED.fullmatch(plain)
    return plain if match is None or "-" in plain else f"{match.group(1)}-{match.group(2)}"


def upstream_of(version: str) -> UpstreamVersion | None:
    """Returns the upstream version at the start of a package's version, None if there is none."""
    match = _UPSTREAM.match(source_version(version))
    if match is None:
        return None
    return UpstreamVersion(int(match.group(1)), int(match.group(2)), int(match.group(3) or 0))


def _candidates(catalog: Catalog, source: str) -> Iterator[tuple[Distribution, str | None]]:
    """Yields the distributions of dpkg that have a kernel of this source package, and the version that its name holds."""
    for distribution in catalog.distributions:
        form = distribution.changelog
        if form is None or not Family(form.grammar).is_dpkg:
            continue
        for pattern in form.sources:
            match = re.fullmatch(pattern, source, re.ASCII)
            if match is not None:
                yield distribution, match.groupdict().get("version")
                break


def _grammar(distribution: Distribution) -> str | None:
    return None if distribution.changelog is None else distribution.changelog.grammar


def source_distribution(catalog: Catalog, source: str, family: Family) -> Distribution | None:
    """Returns the distribution that has a kernel of this source package, with a changelog of this grammar; None if
    there is none.
    """
    return next((item for item, _ in _candidates(catalog, source) if _grammar(item) == family.value), None)


def distribution_of(catalog: Catalog, release: KernelRelease) -> Distribution | None:
    """Returns the distribution of a release, None for an unknown vendor's."""
    return next((item for item in catalog.distributions if item.name == release.distro), None)


def _try(text: str, catalog: Catalog) -> KernelRelease | None:
    try:
        return parse_release(text, catalog)
    except ReleaseError:
        return None


def _named(distribution: Distribution, version: str, name: str) -> str | None:
    """Returns the release string that a distribution makes of a package's version and name, as its file says."""
    form = distribution.changelog
    if form is None or form.release is None:
        return None
    flavour = ""
    for pattern in distribution.packages:
        match = re.fullmatch(pattern, name, re.ASCII)
        flavour = flavour or ("" if match is None else match.groupdict().get("flavour") or "")
    return form.release.format(version=version, flavour=flavour)


def _of_distribution(
    catalog: Catalog, distribution: Distribution, version: str, name: str, release: str | None
) -> KernelRelease | None:
    """Returns the release of a package of a distribution; None if the version is not in the distribution's form."""
    for text in (_named(distribution, version, name), release):
        if text is None:
            continue
        found = _try(text, catalog)
        if found is not None and found.distro == distribution.name and _agrees(found, version):
            return found
    return None


def _agrees(release: KernelRelease, version: str) -> bool:
    """Returns True if a release is of the version: an ABI number names the series alone."""
    ours = upstream_of(version)
    if ours is None or ours.branch != release.version.branch:
        return False
    return not (ours.sublevel and release.version.sublevel) or ours.sublevel == release.version.sublevel


def package_release(
    catalog: Catalog,
    *,
    source: str,
    version: str,
    name: str = "",
    release: str | None = None,
    family: Family | None = None,
) -> KernelRelease:
    """Returns the kernel of a Debian-form package; raises NoKernelPackageError.

    `source` is the control file's field (``linux-signed-amd64 (6.1.170+3)``) or the package of a changelog's header,
    `name` the binary package, `release` the ``uname -r`` in its name, `family` the grammar of its changelog, None
    without one.
    """
    source = source.split(" ", 1)[0]
    plain = source_version(version)
    for distribution, named in _candidates(catalog, source):
        if family is not None and _grammar(distribution) != family.value:
            continue
        found = _of_distribution(catalog, distribution, named or plain, name, release)
        if found is None and distribution.self_built and release is not None:
            own = _try(release, catalog)
            found = own if own is not None and own.distro is None and _agrees(own, plain) else None
        if found is not None:
            return found._replace(release=release or plain, package=plain)
    known = any(True for _ in _candidates(catalog, source))
    if not known and not _KERNEL.fullmatch(source) and not _KERNEL.fullmatch(name):
        raise NoKernelPackageError(f"{name or source}: the source package {source} is no kernel")
    return _of_unknown_vendor(catalog, source, plain, name, release)


def _of_unknown_vendor(catalog: Catalog, source: str, version: str, name: str, release: str | None) -> KernelRelease:
    """Returns the vendor shown by the release in the package's name if the file names no sources, otherwise an unknown
    vendor.
    """
    found = None if release is None else _try(release, catalog)
    if found is not None and _agrees(found, version):
        known = distribution_of(catalog, found)
        if known is not None and (known.changelog is None or not known.changelog.sources):
            return found._replace(release=release or found.release, package=version)
    upstream = upstream_of(version)
    found = None if upstream is None else _try(f"{upstream}-{_UNKNOWN_VENDOR}", catalog)
    if found is None:
        raise NoKernelPackageError(
            f"{name or source} {version}: its version is not that of a kernel, and nothing else in the package names one:"
            " audit its image, or its release string"
        )
    title = f"the source package {source} is of no distribution that this catalogue knows"
    return found._replace(
        release=version,
        package=version,
        distro=None,
        lineage=(),
        own_patches=True,
        notes=(f"{title}: it proves what every kernel of {upstream} has, and leaves open what its builder changed",),
    )


def rpm_release(catalog: Catalog, version: str, family: Family = Family.RPM) -> KernelRelease:
    """Returns the kernel of an RPM's ``VERSION-RELEASE`` with a changelog of this grammar; raises ReleaseError.

    A distribution whose versions name no flavour needs a form for them; without it they match no distribution.
    """
    plain = without_rpm_architecture(re.sub(r"^\d+:", "", version))
    for distribution in catalog.distributions:
        if _grammar(distribution) == family.value:
            form = distribution.changelog
            text = _named(distribution, plain if form is None else form.build_of(plain), "")
            found = None if text is None else _try(text, catalog)
            if found is not None and found.distro == distribution.name:
                return found._replace(release=plain, package=plain, flavour=None)
    return parse_release(plain, catalog)
