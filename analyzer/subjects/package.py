"""Audits of packages: files, installed ones, published ones, all of a repository; and of a changelog alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
from tailcall_audit.analyzer.kernelfiles.changelog.detect import decode_changelog, parse_changelog, read_changelog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Family
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig, parse_config
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, NotInstalledError
from tailcall_audit.analyzer.model import AuditError, Bootable, FirstFixed, State, TargetKind, TargetReport
from tailcall_audit.analyzer.paths import is_file
from tailcall_audit.analyzer.readers.changelog import read_changelog_facts
from tailcall_audit.analyzer.subjects.host import read_host
from tailcall_audit.analyzer.subjects.image import ImageFacts, read_image, with_overruled
from tailcall_audit.analyzer.subjects.installed import installed_kernels
from tailcall_audit.analyzer.subjects.release_string import KernelRelease, parse_release
from tailcall_audit.analyzer.subjects.repository import read_repository
from tailcall_audit.analyzer.subjects.target import Target, identity_of
from tailcall_audit.analyzer.web.fetch import Fetcher, is_url
from tailcall_audit.analyzer.web.publication import find_publication, host_distribution

__all__ = ["PackageAudit", "first_fixed"]

_EVERY_ARCHITECTURE = frozenset(("all", "any", "noarch", "src"))
_MAX_CHANGELOG = 64 << 20
_UBUNTU_VERSION = re.compile(r"\d+\.\d+\.0-\d+\.\d+\S*", re.ASCII)


def _release_of_version(package: KernelPackage) -> KernelRelease:
    """The kernel that a package's version names, where nothing but the version is known of it."""
    if package.source.endswith(".rpm"):
        return parse_release(package.version)
    if _UBUNTU_VERSION.fullmatch(package.version) and package.release is not None:
        return parse_release(package.release)  # the ABI's release string: Ubuntu's version says no more than that
    return parse_release(f"Debian {package.version}")._replace(release=package.version)


def _architecture(package: KernelPackage, notes: list[str]) -> str | None:
    """The architecture of a package; None, with a note where it is a word that no architecture goes by."""
    if package.architecture in _EVERY_ARCHITECTURE:
        return None
    try:
        return normalize_architecture(package.architecture)
    except UnknownArchitectureError:
        notes.append(
            f"{package.path}: its architecture {package.architecture[:60]!r} is not known: judged for every one"
        )
        return None


@dataclass(frozen=True)
class PackageAudit:
    """What the audits of packages share: how a target starts, where to fetch from, and who hears of the progress."""

    fresh: Callable[[], Target]
    fetcher: Fetcher
    progress: Callable[[str], None]
    config: KernelConfig | None = None

    def changelog(self, name: str, version: str | None, family: str | None) -> TargetReport:
        """Audit a package by its changelog: a file, an address, or standard input (``-``)."""
        form = None if family is None else Family(family)
        notes: list[str] = []
        self.progress(f"reading {name}")
        if is_url(name):
            fetched = self.fetcher.get(name, _MAX_CHANGELOG)
            notes += [fetched.note] if fetched.note else []
            found = decode_changelog(fetched.data, name, form)
        else:
            found = read_changelog(name, form)
        return self._changelog(found, version, notes)

    def _changelog(
        self, changelog: Changelog, version: str | None, notes: Iterable[str], named: str | None = None
    ) -> TargetReport:
        target = self.fresh()
        facts = read_changelog_facts(target.catalog, changelog, version)
        target.evidence += facts.evidence
        target.notes += [*facts.notes, *notes]
        target.release_facts(facts.release)
        config = self.config
        if named is None and config is not None:
            named = config.architecture
        architecture = target.architecture(named, changelog.path if config is None else config.path)
        speaks = target.speaks(config, facts.release, architecture)
        identity = identity_of(facts.release, architecture, changelog=changelog.path)
        name = facts.release.package or facts.release.release
        return target.report(name, TargetKind.CHANGELOG, identity, config, speaks)

    def package(self, package: KernelPackage, config: KernelConfig | None, notes: Sequence[str] = ()) -> TargetReport:
        """Audit a package that was read."""
        target = self.fresh()
        target.notes += notes
        architecture = target.architecture(_architecture(package, target.notes), package.path)
        if package.via is not None:
            target.notes.append(
                f"{package.via} is a metapackage: this is the kernel that it depends on, {package.path}"
            )
        if package.changelog is None:
            alone = ": only its version speaks" if package.bootable is None else ""
            target.notes.append(f"{package.name} has no changelog in it{alone}")
            release = _release_of_version(package)
        else:
            place, content = package.changelog
            label = place if place.startswith("/") else f"{package.path}:{place}"
            family = Family.RPM if place == "%changelog" else None
            changelog = parse_changelog(content.decode("utf-8", "replace"), label, family)
            # An RPM's newest entry need not bear its version: a rebuild may add none.
            version = None if family is Family.RPM else package.version
            facts = read_changelog_facts(target.catalog, changelog, version, package.version)
            target.evidence += facts.evidence
            target.notes += facts.notes
            release = facts.release
        target.release_facts(release)
        used = config
        if (bootable := package.bootable) is not None:
            image = self._image(target, bootable, package)
            if used is None and package.config is None and image is not None:
                used = image.config
        if used is None and package.config is not None:
            place, content = package.config
            label = place if (place.startswith("/") and is_file(Path(place))) else f"{package.path}:{place}"
            used = parse_config(content.decode("utf-8", "replace"), label)
        speaks = target.speaks(used, release, architecture)
        identity = identity_of(release, architecture, package=f"{package.name} {package.version}", image=package.image)
        report = target.report(f"{package.name} {package.version}", TargetKind.PACKAGE, identity, used, speaks)
        return with_overruled(report)._replace(bootable=package.bootable)

    def _image(self, target: Target, bootable: Bootable, package: KernelPackage) -> ImageFacts | None:
        """Add what the image in a package says; one that can't be read leaves a note, and the package speaks without it."""
        try:
            label = bootable.path if bootable.member is None else f"{bootable.path}:{bootable.member}"
            facts = read_image(target, read_bootable(bootable), label, self.progress)
        except AuditError as error:
            target.notes.append(f"the image is not read: {error}")
            return None
        built = facts.release.package
        if built is not None and package.source.startswith("linux") and _plain(built) != _plain(package.version):
            target.notes.append(f"CONTRADICTION: the package is {package.version}, and the image in it says {built}")
        target.evidence += facts.evidence
        target.notes += facts.notes
        return facts

    def named(self, name: str, distro: str | None) -> TargetReport:
        """Audit a package file, an installed package, or else the changelog that its distribution publishes."""
        self.progress(f"reading {name}")
        try:
            return self.package(read_package(name), self.config)
        except NotInstalledError as error:
            distribution = distro or host_distribution()
            if distribution is None:
                raise AuditError(
                    f"{error}; give a .deb or .rpm file, its changelog with --changelog, or say with --distro where it is published"
                ) from error
        published = find_publication(name, distribution)
        fetched = self.fetcher.get(published.url, _MAX_CHANGELOG)
        notes = [
            f"{name} is not installed here: judged by the changelog that {distribution.partition(':')[0]} publishes"
        ]
        notes += [note for note in (published.note, fetched.note) if note]
        changelog = decode_changelog(fetched.data, published.url)
        # linux-image-6.1.0-47-amd64: the flavour names the architecture.
        match = re.search(r"-(amd64|arm64|armhf|i386|ppc64el|riscv64|s390x)(?:-|$)", name.partition("=")[0])
        architecture = None if match is None else normalize_architecture(match.group(1))
        return self._changelog(changelog, published.version, notes, architecture)

    def installed(self, root: Path | None = None) -> list[TargetReport]:
        """Every installed kernel, the running one marked, and what a reboot into another would mend. `root` is for tests."""
        place = root or Path("/")
        running = read_host(place).release
        reports = []
        for package in installed_kernels(place):
            self.progress(f"reading {package.name}")
            report = self.package(package, None)
            runs = package.release == running.release and (running.package in (None, package.version))
            reports.append(report._replace(name=f"{report.name} (running)") if runs else report)
        if not reports:
            raise AuditError("no kernel package is installed here; audit the running kernel without --installed")
        return [_with_pending_reboot(report, reports) for report in reports]

    def repository(self, place: str) -> tuple[list[TargetReport], tuple[FirstFixed, ...], tuple[str, ...]]:
        """Every kernel of a repository, the first version of each without each defect, and what was wrong with those left out.

        Raises AuditError where no kernel can be audited.
        """
        repository = read_repository(place, self.fetcher, self.progress)
        reports: list[TargetReport] = []
        skipped = [item.reason for item in repository.skipped]
        series: dict[tuple[str, str], list[TargetReport | None]] = {}
        for number, package in enumerate(repository.kernels, 1):
            self.progress(f"judging {package.name} {package.version} ({number} of {len(repository.kernels)})")
            report = None
            try:
                report = self.package(package, self.config, repository.notes)
                reports.append(report)
            except AuditError as error:
                skipped.append(f"{package.name} {package.version} {package.architecture}: {error}")
            # Debian's package names hold the version, so they are no series; RPM's are.
            name = package.name if package.source.endswith(".rpm") else "linux"
            series.setdefault((name, package.architecture), []).append(report)
        for item in repository.skipped:
            # Its place in the order is not known: it may be the newest.
            for members in (
                [series.setdefault((item.name, item.architecture), [])] if item.architecture else series.values()
            ):
                members.append(None)
        firsts = tuple(
            first
            for (name, architecture), members in series.items()
            for first in first_fixed(f"{name} {architecture}", members)
        )
        if not reports:
            raise AuditError(skipped[0])
        return reports, firsts, tuple(skipped)


def _plain(version: str) -> str:
    """A Debian version as its sources have it: a signed package's 6.1.170+3 is 6.1.170-3."""
    return version if "-" in version else version.replace("+", "-", 1)


def _with_pending_reboot(report: TargetReport, reports: Sequence[TargetReport]) -> TargetReport:
    """The report of the running kernel, with a note on each other one that has a fix which it lacks."""
    if not report.name.endswith("(running)"):
        return report
    affected = {item.defect.slug: item.defect for item in report.verdicts if item.state is State.AFFECTED}
    notes = []
    for other in reports:
        mended = [item.defect for item in other.verdicts if item.state is State.FIXED and item.defect.slug in affected]
        if mended and other is not report:
            names = ", ".join(
                defect.slug + (f" (pitfall {defect.pitfall})" if defect.pitfall else "") for defect in mended
            )
            notes.append(f"a reboot is pending: {other.name} is installed and fixes {names}")
    return report._replace(notes=(*notes, *report.notes))


def first_fixed(kernel: str, reports: Sequence[TargetReport | None]) -> list[FirstFixed]:
    """For each defect the oldest version from which on none has it, nor may have it.

    `reports` are oldest first; None is a kernel that could not be audited, and may have every defect.
    """
    states = [{} if report is None else report.states for report in reports]
    found = []
    for slug in dict.fromkeys(slug for each in states for slug in each):
        free = 0
        while free < len(states) and states[-1 - free].get(slug) in (State.FIXED, State.NOT_AFFECTED):
            free += 1
        oldest = reports[-free] if free else None
        found.append(FirstFixed(kernel, slug, None if oldest is None else oldest.name))
    return found
