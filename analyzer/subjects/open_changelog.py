"""Opens a changelog at one package version: the kernel that this is, and the entries that count for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.distribution import Proof
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry
from tailcall_audit.analyzer.kernelfiles.changelog.identity import foreign_suite, of_distribution
from tailcall_audit.analyzer.kernelfiles.changelog.window import Window, entries_since, window_of
from tailcall_audit.analyzer.kernelfiles.release.package_release import (
    distribution_of,
    package_release,
    rpm_release,
    source_distribution,
)
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError

__all__ = ["OpenChangelog", "PackageName", "open_changelog"]


_NEWEST = 20
"""The entries that show who wrote a changelog: a rebuilder writes the newest ones, and keeps the others."""


class PackageName(NamedTuple):
    """What the package that a changelog came in says about itself: its version, its source package, its name, and the
    release in that name.
    """

    version: str
    source: str = ""
    name: str = ""
    release: str | None = None


@dataclass(frozen=True, eq=False)
class OpenChangelog:
    """A changelog, the kernel that one version of it is, and the entries that count as backports to its base.

    `notes` say how far the file can be trusted. `catalog` is the one by whose distributions it was identified.
    `rebuilder` is the title of those who build the distribution's kernels anew and wrote this changelog, None if the
    distribution wrote it. `mark` is what the builds have behind the versions that it names. `name` is the package that
    it came in, if that is known. `inherited` names the owner of the changelog if the kernel is another vendor's build
    of the same sources: such a kernel has what is listed, and may have more.
    """

    changelog: Changelog
    release: KernelRelease
    window: Window
    notes: tuple[str, ...]
    catalog: Catalog
    rebuilder: str | None = None
    inherited: str | None = None
    mark: str = ""
    name: str = ""

    @property
    def span(self) -> str:
        """Describes the counted entries, for a reader of the report."""
        entries = self.window.entries
        if not entries:
            return "no entry"
        return f"{len(entries)} entries of {self.window.base.branch}, back to {entries[-1].version or entries[-1].date}"


def _identify(catalog: Catalog, changelog: Changelog, entry: Entry, package: PackageName, mark: str) -> KernelRelease:
    """Returns the kernel that a package is; raises ChangelogError if its version names none."""
    named, family = package.version, changelog.family
    try:
        if not family.is_dpkg:
            return rpm_release(catalog, f"{named}.{mark}" if mark and mark not in named else named, family)
        source = package.source or entry.package
        distribution = source_distribution(catalog, source, family) if family.rolls_in_stable else None
        if distribution is not None:
            return parse_release(named, catalog)._replace(
                distro=distribution.name,
                package=named,
                proof=Proof.PATCHED,
                vanilla_like=not distribution.frozen,
                local=None,
                notes=(),
            )
        return package_release(
            catalog, source=source, version=named, name=package.name, release=package.release, family=family
        )
    except ReleaseError as error:
        raise ChangelogError(
            f"{changelog.path}: {named!r} is no kernel version; name the package's with {parameter('package_version')}"
        ) from error


def _newest_version(changelog: Changelog) -> str:
    """Returns the version of the newest build: that of the newest entry. If that holds a macro or no version, the
    fields of the .spec name it.

    An older entry of that build may have the distribution's suffix, which the fields leave to a macro.
    """
    newest, built = changelog.entries[0].version, changelog.built
    if built is None or (newest and "%" not in newest):
        return newest
    versions = (entry.version for entry in changelog.entries)
    return next((name for name in versions if name == built or name.startswith(f"{built}.")), built)


def _mark_of(catalog: Catalog, changelog: Changelog, package: PackageName) -> str:
    """Returns what an RPM's version has behind the one that its newest entries write: oe2203sp4; empty if they write all
    of it.
    """
    if changelog.family.is_dpkg:
        return ""
    for entry in changelog.entries[:_NEWEST]:
        if entry.version and package.version.startswith(f"{entry.version}."):
            try:
                whole = rpm_release(catalog, entry.version, changelog.family).distro is not None
            except ReleaseError:
                continue
            return "" if whole else package.version[len(entry.version) + 1 :]
    return ""


def open_changelog(
    catalog: Catalog,
    changelog: Changelog,
    version: str | None = None,
    package: PackageName | None = None,
    mark: str = "",
) -> OpenChangelog:
    """Returns a changelog opened at a version (None: that of its newest entry); raises ChangelogError if it has no such
    version.

    `package` is the package that the changelog came in, whose version its entries need not name. `mark` is what builds
    have behind the versions that an RPM's changelog writes: ``oe2203sp4``; if it is empty, the package shows it.
    """
    changelog = of_distribution(catalog, changelog)
    mark = mark or ("" if package is None else _mark_of(catalog, changelog, package))
    entries = entries_since(changelog, version)
    named = version or (package.version if package is not None else _newest_version(changelog))
    if not named:
        raise ChangelogError(
            f"{changelog.path}: its newest entry has no version; name the package's with {parameter('package_version')}"
        )
    release = _identify(catalog, changelog, entries[0], (package or PackageName(named))._replace(version=named), mark)
    window = window_of(changelog, entries, release.version)
    distribution = distribution_of(catalog, release)
    form = None if distribution is None else distribution.changelog
    if window.gap is None and (form is None or not form.lists_commits):
        window = window._replace(gap="it is not known that its vendor lists every commit that it takes")
    if window.gap is None and distribution is not None:
        window = window._replace(gap=foreign_suite(distribution, window.entries))
    authors = "\n".join(item.author for item in entries[:_NEWEST])
    rebuilder = None if distribution is None else distribution.rebuilder(authors)
    opened = OpenChangelog(
        changelog,
        release._replace(version=window.stable),
        window,
        (),
        catalog,
        rebuilder,
        mark=mark,
        name="" if package is None else package.name,
    )
    oldest = changelog.entries[-1]
    notes = [f"changelog: {opened.span}; the file goes back to {oldest.version or oldest.date}"]
    if not any(entry.version for entry in entries):
        notes.append(f"{changelog.path} has no versions: taken whole as the changelog of {named}")
    if window.gap is not None:
        notes.append(f"the changelog is not complete: {window.gap}")
    if changelog.family.rolls_in_stable:
        title = "its vendor" if distribution is None else distribution.title
        notes.append(f"the newest stable release that {title} has rolled in is {window.stable}")
    return replace(opened, notes=tuple(notes))
