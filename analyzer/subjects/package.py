"""A kernel package as a subject: a file, an installed one, or one that its distribution publishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.changelog.detect import decode_changelog, parse_changelog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Family
from tailcall_audit.analyzer.kernelfiles.containers import SeveralKernelsError
from tailcall_audit.analyzer.kernelfiles.deb import installed_image
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig, parse_config
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, NotInstalledError
from tailcall_audit.analyzer.kernelfiles.release.package_release import package_release, rpm_release
from tailcall_audit.analyzer.kernelfiles.release.schemes import known_architecture
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import AuditError, Bootable, TargetKind
from tailcall_audit.analyzer.paths import is_file
from tailcall_audit.analyzer.subjects.changelog import MAX_CHANGELOG, subject_of_changelog
from tailcall_audit.analyzer.subjects.image import OpenImage, load_image
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog, PackageName, open_changelog
from tailcall_audit.analyzer.subjects.package_identity import contradictions, unproven
from tailcall_audit.analyzer.subjects.subject import Parts, Request, Subject, make_subject
from tailcall_audit.analyzer.web.publication import example_distribution, find_publication, host_distribution

__all__ = ["changelog_of", "open_subjects", "subject_of_package"]

_EVERY_ARCHITECTURE = frozenset(("all", "any", "noarch", "src"))


def _release_of_version(catalog: Catalog, package: KernelPackage) -> KernelRelease:
    """Returns the kernel that a package's version names, for a package of which only the version is known."""
    if package.is_rpm:
        return rpm_release(catalog, package.version)
    return package_release(
        catalog,
        source=package.source,
        version=package.version,
        name=package.name,
        release=package.release or installed_image(package.name),
    )


def _architecture(package: KernelPackage, notes: list[str]) -> str | None:
    """Returns the architecture of a package; None, with a note, where no architecture has this name."""
    if package.architecture in _EVERY_ARCHITECTURE:
        return None
    try:
        return normalize_architecture(package.architecture)
    except UnknownArchitectureError:
        notes.append(
            f"{package.path}: its architecture {package.architecture[:60]!r} is not known: judged for every one"
        )
        return None


def _judged_architecture(
    package: KernelPackage, named: str | None, image: OpenImage | None, notes: list[str]
) -> tuple[str | None, str]:
    """Returns the architecture of the kernel, and where it is named. A package for 32 bits may hold a 64-bit kernel:
    the image decides.
    """
    boots = None if image is None else image.architecture
    if boots is None or boots == named:
        return named, package.path
    if named is not None:
        notes.append(
            f"{package.path} is for {package.architecture}, and the image in it for {boots}: judged for {boots}"
        )
    return boots, f"the image in {package.path}"


def changelog_of(request: Request, package: KernelPackage) -> OpenChangelog | None:
    """Returns the changelog that is in a package, at its version; None if it has none. Raises ChangelogError."""
    if package.changelog is None:
        return None
    place, content = package.changelog
    label = place if place.startswith("/") else f"{package.path}:{place}"
    family = Family.RPM if package.is_rpm else None
    changelog = parse_changelog(content.decode("utf-8", "replace"), label, family)
    # An RPM's newest entry need not bear its version: a rebuild may add none.
    version = None if family is Family.RPM else package.version
    named = PackageName(package.version, package.source, package.name, package.release or installed_image(package.name))
    return open_changelog(request.catalog, changelog, version, named)


class _ImageFound(NamedTuple):
    """The image in a package, notes about it, and why its identity is not known if it names two kernels."""

    image: OpenImage | None = None
    notes: tuple[str, ...] = ()
    contradiction: str | None = None


def _image_of(request: Request, package: KernelPackage, read: Callable[[Bootable], bytes]) -> _ImageFound:
    """Returns the image in a package. One that cannot be read leaves a note, and the package is judged without it."""
    if package.bootable is None:
        return _ImageFound()
    path, member = package.bootable
    try:
        image = load_image(
            read(package.bootable),
            path if member is None else f"{path}:{member}",
            request.progress,
            catalog=request.catalog,
        )
    except SeveralKernelsError as error:
        return _ImageFound(contradiction=str(error))
    except AuditError as error:
        return _ImageFound(notes=(f"the image is not read: {error}",))
    return _ImageFound(image, image.notes)


def _config_of(
    request: Request, package: KernelPackage, image: OpenImage | None, contradicted: bool
) -> KernelConfig | None:
    """Returns the configuration that was given, else the one in the package, else the one in its image.

    If the package and its image contradict each other, the package's configuration may be of another kernel than
    the one that boots.
    """
    if request.config is not None:
        return request.config
    if package.config is None or contradicted:
        return None if image is None else image.config
    place, content = package.config
    label = place if (place.startswith("/") and is_file(Path(place))) else f"{package.path}:{place}"
    return parse_config(content.decode("utf-8", "replace"), label, request.catalog)


def subject_of_package(
    request: Request,
    package: KernelPackage,
    notes: Sequence[str] = (),
    read: Callable[[Bootable], bytes] = read_bootable,
) -> Subject:
    """Returns the kernel of a package that was read; `read` gives the bytes of its image."""
    found = list(notes)
    named = _architecture(package, found)
    if package.via is not None:
        found.append(f"{package.via} is a metapackage: this is the kernel that it depends on, {package.path}")
    opened = changelog_of(request, package)
    if opened is None:
        alone = ": judged by its version alone" if package.bootable is None else ""
        found.append(f"{package.name} has no changelog in it{alone}")
    else:
        found += opened.notes
    release = _release_of_version(request.catalog, package) if opened is None else opened.release
    image, image_notes, several = _image_of(request, package, read)
    reasons = [several] if several is not None else []
    reasons += contradictions(request.catalog, package, release, image)
    if reasons:
        release = unproven(package, release, reasons)
    subject = make_subject(
        request,
        TargetKind.PACKAGE,
        f"{package.name} {package.version}",
        release=release,
        architecture=_judged_architecture(package, named, image, found),
        config=_config_of(request, package, image, bool(reasons)),
        # The changelog belongs to the package: it says nothing about an image of another kernel.
        parts=Parts(changelog=None if reasons else opened, image=image),
        notes=[*found, *image_notes],
        package=f"{package.name} {package.version}",
        image=package.image,
    )
    return subject._replace(bootable=package.bootable, version=package.version)


def _published(request: Request, name: str, distribution: str) -> Subject:
    """Returns the kernel of a package by the changelog that its distribution publishes; raises FetchError."""
    publication = find_publication(name, distribution, request.catalog)
    fetched = request.fetcher().get(publication.url, MAX_CHANGELOG)
    who = distribution.partition(":")[0]
    notes = [f"{name} is not installed here: judged by the changelog that {who} publishes"]
    notes += [note for note in (publication.note, fetched.note) if note]
    changelog = decode_changelog(fetched.data, publication.url)
    # linux-image-6.1.0-47-amd64: the flavour names the architecture.
    parts = (known_architecture(part) for part in name.partition("=")[0].split("-"))
    architecture = next((part for part in parts if part is not None), None)
    return subject_of_changelog(request, changelog, publication.version, notes, (architecture, changelog.path))


def open_subjects(request: Request, name: str) -> Iterator[Subject]:
    """Yields the kernel of a package file, of an installed package, or else by the changelog that its distribution
    publishes.
    """
    request.progress(f"reading {name}")
    try:
        yield subject_of_package(request, read_package(name))
    except NotInstalledError as error:
        # The network is used only if the user says so: the name of a package can be a secret.
        if request.distro is None:
            example = host_distribution() or example_distribution(request.catalog)
            raise AuditError(
                f"{error}; give a .deb or .rpm file or its changelog, or say which distribution publishes it, so that its"
                f" changelog is fetched ({parameter('distro', example)})"
            ) from error
        yield _published(request, name, request.distro)
