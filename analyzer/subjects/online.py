"""Looks up a build that a release names: in the changelog that its distribution publishes, or in a repository that the
user named once.

Nothing is fetched unless the user asks for it. The changelog of one version is kept for good, a listing and a
repository's indexes for a day.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import unquote

from tailcall_audit.analyzer.architecture import without_rpm_architecture
from tailcall_audit.analyzer.catalog.distribution import Distribution
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError, decode_changelog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage
from tailcall_audit.analyzer.kernelfiles.release.package_release import distribution_of, source_version, upstream_of
from tailcall_audit.analyzer.kernelfiles.release.types import Build, KernelRelease
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog, open_changelog
from tailcall_audit.analyzer.subjects.package import changelog_of
from tailcall_audit.analyzer.subjects.repository import Repository, read_repository
from tailcall_audit.analyzer.subjects.subject import Request
from tailcall_audit.analyzer.version import build_key
from tailcall_audit.analyzer.web.fetch import MAX_AGE, Fetcher, FetchError
from tailcall_audit.analyzer.web.publication import address_of_version, published_versions
from tailcall_audit.analyzer.web.repositories import KnownRepository

__all__ = ["LookedUp", "Online", "place_of"]

_MAX_CHANGELOG = 64 << 20
_MAX_LISTING = 16 << 20
_MOST_BUILDS = 20
"""Packages that one ABI number may name at most; with more there is no answer."""
_BACKPORT = re.compile(r"~(?:bpo|deb)\d", re.ASCII)


class LookedUp(NamedTuple):
    """What was found about a build: its changelog, and the release that this proves; None and the reasons if nothing
    was found.
    """

    release: KernelRelease
    changelog: OpenChangelog | None
    notes: tuple[str, ...]


class Online:
    """The places that may be asked, and what was read there."""

    def __init__(self, repositories: Sequence[KnownRepository] = ()) -> None:
        self.repositories = tuple(repositories)
        self._read: dict[str, Repository | AuditError] = {}

    def of(self, distribution: Distribution) -> list[KnownRepository]:
        """Returns the repositories in which builds of a distribution were seen, and those whose distributions are not
        known.
        """
        return [item for item in self.repositories if not item.distributions or distribution.name in item.distributions]

    def repository(self, request: Request, place: str) -> Repository:
        """Returns a repository and reads it only once; raises AuditError."""
        if place not in self._read:
            try:
                self._read[place] = read_repository(place, request.fetcher(), request.progress)
            except AuditError as error:
                self._read[place] = error
        found = self._read[place]
        if isinstance(found, AuditError):
            raise found
        return found

    def look_up(self, request: Request, release: KernelRelease) -> LookedUp:
        """Returns what is found about a build. The notes name what cannot be reached or read."""
        distribution = distribution_of(request.catalog, release)
        if distribution is None or distribution.published is None:
            return LookedUp(release, None, ())
        try:
            if distribution.published.base is not None:
                return _Published(request, release, distribution).found()
            return _in_repositories(self, request, release, distribution)
        except AuditError as error:
            return LookedUp(release, None, (f"looked up without an answer: {error}",))


def place_of(online: Online, request: Request, release: KernelRelease) -> str | None:
    """Returns a name for the place that would be asked about a build; None if there is none. Builds with the same place
    are looked up together.
    """
    distribution = distribution_of(request.catalog, release)
    if distribution is None or distribution.published is None:
        return None
    if distribution.published.base is not None:
        return f"{distribution.name} {release.package or release.release}"
    places = online.of(distribution)
    return " ".join(item.place for item in places) or None


class _Published:
    """A build of a distribution that publishes a changelog for each version."""

    def __init__(self, request: Request, release: KernelRelease, distribution: Distribution) -> None:
        self.request = request
        self.release = release
        self.distribution = distribution
        template = distribution.flavour_packages.get(release.flavour or "", distribution.package)
        self.name = (template or "linux-image-{release}").format(release=release.release, build=release.release)
        self.notes: list[str] = []
        self._newest: Changelog | None = None
        # The changelog of one version never changes.
        self._versions = self._fetcher(math.inf)
        self._listings = self._fetcher(MAX_AGE)

    def _fetcher(self, max_age: float) -> Fetcher:
        request = self.request
        return Fetcher(refresh=request.refresh, progress=request.progress, max_age=max_age, remembers_missing=True)

    def found(self) -> LookedUp:
        """Returns what the changelog of the build says; raises AuditError."""
        versions = self._versions_of_release()
        if not versions:
            raise ChangelogError(f"{self.distribution.title} lists no package of {self.release.release}")
        changelog = self._newest or self._changelog(versions[-1])
        opened = [open_changelog(self.request.catalog, changelog, version) for version in versions]
        return _as_one(self.release, opened, versions, self.notes)

    def _changelog(self, version: str) -> Changelog:
        url = address_of_version(self.distribution, self.name, version)
        fetched = self._versions.get(url, _MAX_CHANGELOG)
        self.notes += [f"looked up: {url}", *([fetched.note] if fetched.note else [])]
        return decode_changelog(fetched.data, url)

    def _versions_of_release(self) -> list[str]:
        """Returns the versions that the release may belong to, oldest first."""
        release = self.release
        if release.package is not None:
            named = source_version(release.package)
            return [re.sub(r"\+b\d+$", "", named.removesuffix(f"-{release.flavour}"), flags=re.ASCII)]
        if release.builds:
            return [build.package for build in release.builds][-_MOST_BUILDS:]
        for like in ("", "~"):  # a version with a tilde is of another source package
            listed = self._listed(like)
            found = sorted((item for item in listed if self._is_of_release(item)), key=build_key)
            if found:
                return found[-_MOST_BUILDS:]
        return self._versions_of_abi()

    def _is_of_release(self, version: str) -> bool:
        published, release = self.distribution.published, self.release
        if published is None or published.builds is None or ("{abi}" in published.builds and release.abi is None):
            return False
        upstream = re.match(r"\d+(?:\.\d+)*", release.release, re.ASCII)
        values = {"upstream": re.escape(upstream.group() if upstream else ""), "abi": re.escape(release.abi or "")}
        expression = re.sub(r"\{(upstream|abi)\}", lambda match: values[match.group(1)], published.builds)
        return re.fullmatch(expression, version, re.ASCII) is not None

    def _listed(self, like: str) -> list[str]:
        """Returns the versions that are published of the source package; none where there is no such package."""
        url, link = published_versions(self.distribution, self.name, like)
        try:
            fetched = self._listings.get(url, _MAX_LISTING)
        except FetchError as error:
            if error.status is None:
                raise
            return []
        text = fetched.data.decode("utf-8", "replace")
        return list(dict.fromkeys(unquote(match["version"]) for match in link.finditer(text)))

    def _versions_of_abi(self) -> list[str]:
        """Returns the versions that have an ABI number by the newest changelog of the series: those from the entry that
        sets it to the one that sets the next.
        """
        bumps = None if self.distribution.published is None else self.distribution.published.bumps
        if bumps is None or self.release.abi is None:
            return []
        branch = self.release.version.branch
        listed = [item for item in self._listed("") if _branch(item) == branch and not _BACKPORT.search(item)]
        if not listed:
            return []
        # The newest changelog has the entries of the earlier versions.
        self._newest = self._changelog(max(listed, key=build_key))
        return list(_with_abi(self._newest, bumps, branch, self.release.abi))


def _branch(version: str) -> str | None:
    found = upstream_of(version)
    return None if found is None else found.branch


def _with_abi(changelog: Changelog, bumps: str, branch: str, abi: str) -> Iterator[str]:
    """Yields the versions that have an ABI number, oldest first. A number is stated once, by the entry that sets it."""
    current = None
    for entry in reversed(changelog.entries):
        if _branch(entry.version) != branch or _BACKPORT.search(entry.version):
            continue
        for item in entry.items:
            match = re.search(bumps, item.text, re.ASCII)
            current = match["abi"] if match is not None else current
        if current == abi:
            yield entry.version


def _as_one(
    release: KernelRelease, opened: Sequence[OpenChangelog], versions: Sequence[str], notes: Sequence[str]
) -> LookedUp:
    """Returns what the packages that one release may name have in common."""
    oldest = opened[0]
    found = (*notes, *oldest.notes)
    if len(opened) == 1:
        return LookedUp(_merged(release, oldest), oldest, found)
    words = f"{release.release} may be of {', '.join(versions)}"
    if oldest.changelog.family.rolls_in_stable and len({_listing(item) for item in opened}) == 1:
        return LookedUp(_merged(release, oldest), oldest, (*found, f"{words}, which list the same commits"))
    if oldest.changelog.family.rolls_in_stable:
        return LookedUp(release, None, (*notes, f"{words}, which do not list the same commits"))
    source = oldest.changelog.path
    builds = tuple(
        Build(item.release.package or name, item.release.version) for name, item in zip(versions, opened, strict=True)
    )
    return LookedUp(release._replace(builds=builds, builds_source=source), None, (*notes, words))


def _listing(opened: OpenChangelog) -> tuple[object, ...]:
    """Returns what a changelog's entries say at a version, without the versions: all that readers read."""
    window = opened.window
    return window.stable, window.gap, tuple(item.text for entry in window.entries for item in entry.items)


def _merged(release: KernelRelease, opened: OpenChangelog) -> KernelRelease:
    """Returns the kernel of a changelog under the name that the user gave."""
    if not opened.changelog.family.is_dpkg:
        return release
    return opened.release._replace(
        text=release.text,
        release=release.release,
        abi=release.abi,
        flavour=release.flavour,
        architecture=release.architecture,
        built=release.built,
        date_source=release.date_source,
        lineage=opened.release.lineage or release.lineage,
    )


def _in_repositories(online: Online, request: Request, release: KernelRelease, distribution: Distribution) -> LookedUp:
    notes = []
    build = without_rpm_architecture(release.release.partition("+")[0])
    if distribution.changelog is not None and distribution.changelog.counted is not None:
        build = build.removesuffix(f"-{release.flavour}")
    for known in online.of(distribution):
        try:
            repository = online.repository(request, known.place)
        except AuditError as error:
            notes.append(f"looked up without an answer: {error}")
            continue
        package = _of_build(repository.kernels, build, release, distribution)
        opened = None if package is None else changelog_of(request, package)
        if opened is None:
            notes.append(f"looked up: {known.place} has no changelog of {build}")
            continue
        whose = opened.rebuilder or distribution.rebuilder(known.place)
        if whose != release.rebuilder:
            opened = replace(opened, inherited=whose or distribution.vendor)
        return LookedUp(release, opened, (f"looked up: {known.place}", *repository.notes, *opened.notes))
    return LookedUp(release, None, tuple(notes))


def _of_build(
    kernels: Iterable[KernelPackage], build: str, release: KernelRelease, distribution: Distribution
) -> KernelPackage | None:
    """Returns a package of a build, of the release's flavour where packages have one: all architectures share a
    changelog.
    """
    names = {flavour: _name(template) for flavour, template in distribution.flavour_packages.items()}
    wanted = names.get(release.flavour or "") or _name(distribution.package or "")
    form = distribution.changelog
    same = []
    for item in kernels:
        version = re.sub(r"^\d+:", "", item.version)
        if build in (version, version if form is None else form.build_of(version)):
            same.append(item)
    others = {name for name in names.values() if name != wanted}
    fitting = [item for item in same if item.name == wanted] or [item for item in same if item.name not in others]
    return next((item for item in fitting if item.changelog is not None), None)


def _name(template: str) -> str:
    return template.partition("-{")[0]
