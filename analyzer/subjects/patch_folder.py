"""A folder of patches without the sources that they are for: SUSE's kernel-source, the sources of an RPM, a ``debian/``
folder.

The folder says which release is the base and which patches are put on it. What neither names stays open, because a
patch may bring a change under another name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.changelog.detect import decode_changelog
from tailcall_audit.analyzer.kernelfiles.patch_series import ListedPatch, read_series
from tailcall_audit.analyzer.kernelfiles.release.package_release import rpm_release
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError
from tailcall_audit.analyzer.kernelfiles.rpm_spec import read_spec
from tailcall_audit.analyzer.kernelfiles.tree_files import FileReader, ReadState
from tailcall_audit.analyzer.model import AuditError, TargetKind
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog, open_changelog
from tailcall_audit.analyzer.subjects.subject import OpenPatches, Parts, Request, Subject, make_subject

__all__ = ["patch_subject"]

_MAX_LIST = 64 << 20
"""Bytes of a changelog or of a list of patches."""
_KERNEL_NAME = re.compile(r"(?:kernel|linux)(?:[-_.].*)?|.*[-_](?:kernel|linux)", re.ASCII)
_DPKG = ("debian/changelog", "debian/patches/series", "debian/source/format")
_SETTLE = "tailcall-audit --tree PATH   on the sources with these patches applied ({how})"


class _Folder(NamedTuple):
    """What a folder of patches holds: the kernel that they make, the list of them, and how to apply them all."""

    what: str
    release: KernelRelease
    listing: str
    prefix: str
    patches: tuple[ListedPatch, ...]
    changelog: OpenChangelog | None
    how: str


def _text(files: FileReader, path: str) -> bytes | None:
    read = files.read(path, _MAX_LIST)
    return read.data if read.state is ReadState.READ else None


def _repository(catalog: Catalog, files: FileReader) -> Iterator[_Folder]:
    """Yields the repository of patches of each distribution that has such a form: its mark is the file that names the
    base; the patches are in a series.
    """
    for distribution in catalog.distributions:
        for mark in distribution.tree:
            if mark.patches is None:
                continue
            base, series = _base(catalog, files, mark.path, mark.patches.base), _text(files, mark.patches.series)
            if base is None or series is None:
                continue
            release = base._replace(
                proof=Proof.PATCHED,
                vanilla_like=False,
                distro=distribution.name,
                lineage=(distribution.name,),
                own_patches=True,
                notes=(),
            )
            patches, (what, listing, _, apply) = tuple(read_series(series)), mark.patches
            yield _Folder(what, release, listing, "", patches, None, apply)


def _base(catalog: Catalog, files: FileReader, path: str, expression: str) -> KernelRelease | None:
    """Returns the release that a file names as the base of patches."""
    data = _text(files, path)
    match = None if data is None else re.search(expression, data.decode("latin-1"), re.MULTILINE | re.ASCII)
    try:
        return None if match is None else parse_release(match.group(1), catalog)
    except ReleaseError:
        return None


def _changelog(catalog: Catalog, data: bytes, label: str) -> OpenChangelog | None:
    try:
        return open_changelog(catalog, decode_changelog(data, label))
    except AuditError:
        return None


def _spec_release(catalog: Catalog, version: str | None, release: str | None) -> KernelRelease | None:
    """Returns the kernel of a .spec without a changelog, by its own fields."""
    if version is None:
        return None
    try:
        return rpm_release(catalog, f"{version}-{release or 'unknown.vendor'}")
    except ReleaseError:
        return None


def _rpm(catalog: Catalog, files: FileReader, label: str) -> _Folder | None:
    """Returns the sources of an RPM, by the first .spec that is a kernel's; None if there is none."""
    for name in files.names("") or ():
        data = _text(files, name) if name.endswith(".spec") else None
        if data is None:
            continue
        spec = read_spec(data.decode("utf-8", "replace"))
        if spec.name is not None and not _KERNEL_NAME.fullmatch(spec.name):
            continue
        opened = _changelog(catalog, data, f"{label}/{name}")
        release = opened.release if opened is not None else _spec_release(catalog, spec.version, spec.release)
        if release is not None:
            return _Folder("a .spec and its patches", release, name, "", spec.patches, opened, "rpmbuild -bp --nodeps")
    return None


def _dpkg(catalog: Catalog, files: FileReader, label: str) -> _Folder | None:
    """Returns a Debian package without its sources: the changelog names base and version, and the series is applied to
    the unpacked sources. None if it is none.
    """
    changelog, series, form = (_text(files, path) for path in _DPKG)
    opened = None if changelog is None else _changelog(catalog, changelog, f"{label}/{_DPKG[0]}")
    if opened is None:
        return None
    quilt = form is not None and form.strip() == b"3.0 (quilt)"
    patches = tuple(item if quilt else item._replace(applied=None) for item in read_series(series or b""))
    how = "dpkg-source -x, or quilt push -a"
    return _Folder("a debian/ folder", opened.release, _DPKG[1], "debian/patches/", patches, opened, how)


def _found(catalog: Catalog, files: FileReader, label: str) -> Iterator[_Folder]:
    yield from _repository(catalog, files)
    for folder in (_rpm(catalog, files, label), _dpkg(catalog, files, label)):
        if folder is not None:
            yield folder


def patch_subject(
    request: Request, label: str, files: FileReader, rev: str | None = None, commit: str | None = None
) -> Subject | None:
    """Returns the kernel that a folder of patches makes; None if it is no such folder, or does not name its base."""
    folder = next(_found(request.catalog, files, label), None)
    if folder is None:
        return None
    config = request.config
    release = folder.release._replace(settle=_SETTLE.format(how=folder.how))
    note = (
        f"{folder.what} without the kernel's sources: judged by the base, Linux {release.version}, and by what patches and changelog"
        " name; what they do not name is open"
    )
    branch = release.version.branch
    return make_subject(
        request,
        TargetKind.TREE,
        label,
        release=release,
        architecture=(None, "") if config is None else (config.architecture, config.path),
        config=config,
        parts=Parts(
            changelog=folder.changelog,
            patches=OpenPatches(files, folder.listing, folder.prefix, folder.patches, branch),
        ),
        notes=[note, *(folder.changelog.notes if folder.changelog is not None else ())],
        commit=commit,
        rev=rev,
    )
