"""The kernels of a root file system that is not the host's: a mounted disk, a host's mount, an unpacked initrd."""

from __future__ import annotations

from collections.abc import Iterator

from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig, parse_config
from tailcall_audit.analyzer.kernelfiles.package_types import PackageError
from tailcall_audit.analyzer.kernelfiles.places import IMAGE_NAMES, MODULES, config_places
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import ReleaseError
from tailcall_audit.analyzer.kernelfiles.roots.packages import first_file, packages_of
from tailcall_audit.analyzer.kernelfiles.roots.root import IMAGE_NAME, FolderRoot, Root, RootError
from tailcall_audit.analyzer.model import AuditError, Bootable, Skipped, TargetKind
from tailcall_audit.analyzer.paths import expanded
from tailcall_audit.analyzer.subjects.image import load_image
from tailcall_audit.analyzer.subjects.package import subject_of_package
from tailcall_audit.analyzer.subjects.subject import Parts, Request, Subject, make_subject

__all__ = ["open_subjects", "subjects_of_root"]

_MOST_IMAGE = 512 << 20
_MOST_FILE = 64 << 20
_MOST_KERNELS = 200
_STUB = 1 << 20
"""Bytes: a smaller System.map only says where the real one is."""


class _Seen:
    """What was judged of a root: paths of images, and releases."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.images: set[str] = set()
        self.releases: set[str] = set()

    def read(self, bootable: Bootable) -> bytes:
        """Reads an image of the root, by its absolute path there."""
        data = self.root.read(bootable.path.lstrip("/"), _MOST_IMAGE)
        if data is None:
            raise PackageError(f"{self.root.label}:{bootable.path}: cannot read")
        return data


def _of_packages(request: Request, seen: _Seen) -> Iterator[Subject | Skipped]:
    for package in packages_of(seen.root):
        label = f"{seen.root.label}: {package.name} {package.version}"
        request.progress(f"reading {label}")
        seen.images |= {package.image} if package.image else set()
        seen.releases |= {package.release} if package.release else set()
        try:
            subject = subject_of_package(request, package, read=seen.read)
        except AuditError as error:
            yield Skipped(label, str(error))
        else:
            yield subject._replace(label=label, bootable=None)


def _config(request: Request, root: Root, release: str) -> KernelConfig | None:
    if request.config is not None:
        return request.config
    found = first_file(root, _MOST_FILE, *config_places(release))
    if found is None:
        return None
    return parse_config(found[1].decode("utf-8", "replace"), f"{root.label}:{found[0]}", request.catalog)


def _images(root: Root) -> Iterator[tuple[str, str | None]]:
    """Yields the paths of images, with the release that their names or folders have."""
    for folder in root.image_folders:
        for name in root.names(folder):
            match = IMAGE_NAME.fullmatch(name)
            if match is not None:
                yield f"{folder}/{name}".lstrip("/"), match.group(1)
    for folder in MODULES:
        for release in root.names(folder):
            for name in IMAGE_NAMES:
                yield f"{folder}/{release}/{name}", release


def _of_images(request: Request, seen: _Seen) -> Iterator[Subject | Skipped]:
    root = seen.root
    for place, release in _images(root):
        if place in seen.images or (release is not None and release in seen.releases):
            continue
        data = root.read(place, _MOST_IMAGE)
        if not data:
            continue
        label = f"{root.label}: {place}"
        symbols = None if release is None else root.read(f"boot/System.map-{release}", _MOST_FILE)
        seen.releases |= {release} if release is not None else set()
        try:
            image = load_image(
                data, label, request.progress, symbols if symbols and len(symbols) > _STUB else None, request.catalog
            )
        except AuditError as error:
            yield Skipped(label, str(error))
            continue
        booted = image.release.release
        seen.releases.add(booted)
        yield make_subject(
            request,
            TargetKind.IMAGE,
            label,
            release=image.release,
            architecture=(image.architecture or image.release.architecture, label),
            config=image.config or _config(request, root, booted),
            parts=Parts(image=image),
            notes=(*image.notes, f"no package database of {root.label} names this image"),
            image=place,
            banner=image.banner,
        )


def _of_modules(request: Request, seen: _Seen) -> Iterator[Subject]:
    """Yields the kernels of which only the modules are there, as in an initrd."""
    for folder in MODULES:
        for name in seen.root.names(folder):
            if name in seen.releases:
                continue
            try:
                release = parse_release(name, request.catalog)
            except ReleaseError:
                continue
            seen.releases.add(name)
            place = f"{seen.root.label}: {folder}/{name}"
            yield make_subject(
                request,
                TargetKind.RELEASE,
                place,
                release=release,
                architecture=(release.architecture, place),
                config=_config(request, seen.root, name),
                notes=(f"{place}: only its modules are here, no image and no package",),
            )


def subjects_of_root(request: Request, root: Root) -> Iterator[Subject | Skipped]:
    """Yields every kernel of a root file system, each once: those of packages, images without one, and those of which only
    modules are there.

    Raises RootError if there is none. A broken database costs only the packages that it names.
    """
    seen, count = _Seen(root), 0
    for source in (_of_packages, _of_images, _of_modules):
        try:
            for item in source(request, seen):
                count += 1
                if count > _MOST_KERNELS:
                    raise RootError(f"{root.label}: more than {_MOST_KERNELS} kernels: no system has so many")
                yield item
        except RootError as error:
            count += 1
            yield Skipped(root.label, str(error))
    if not count:
        raise RootError(
            f"{root.label}: no kernel in it: neither dpkg nor RPM has one installed, and there is none in boot/ or lib/modules/"
        )


def open_subjects(request: Request, name: str) -> Iterator[Subject | Skipped]:
    """Yields every kernel of a folder that is a root file system; raises RootError if there is none."""
    request.progress(f"reading {name}")
    root = FolderRoot(str(expanded(name)))
    try:
        yield from subjects_of_root(request, root)
    finally:
        root.close()
