"""The audit: from a target to its report. Gathers evidence, asks `analyzer.verdict`, prints nothing and never exits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from analyzer.architecture import UnknownArchitectureError, normalize_architecture
from analyzer.catalog import Catalog, Defect
from analyzer.catalog_file import load_catalog
from analyzer.distros.schemes import Proof
from analyzer.evidence.config import KernelConfig, read_config
from analyzer.model import AuditError, Confidence, Report, State, TargetKind, TargetReport
from analyzer.release import KernelRelease, parse_release
from analyzer.target import Target, identity_of

if TYPE_CHECKING:
    from pathlib import Path

    from analyzer.packages.model import KernelPackage

__all__ = ["audit", "select_defects"]

Progress = Callable[[str], None]
_EVERY_ARCHITECTURE = frozenset(("all", "any", "noarch", "src"))


def select_defects(catalog: Catalog, only: Iterable[str] = (), pitfalls: bool = False) -> tuple[Defect, ...]:
    """The defects named by slug or pitfall number, or those with a pitfall number, or all; raises AuditError on a name that is none."""
    names = [name.strip() for name in only]
    if not names:
        return tuple(defect for defect in catalog.defects if not pitfalls or defect.pitfall is not None)
    found: dict[str, Defect] = {}
    for name in names:
        matches = catalog.find(name)
        if not matches:
            raise AuditError(f"no defect {name!r} in the catalogue; `tailcall-audit list` shows them")
        found.update((defect.slug, defect) for defect in matches)
    return tuple(found.values())


def _refine(release: KernelRelease, config: KernelConfig) -> tuple[KernelRelease, list[str]]:
    """A Debian or Ubuntu configuration names the stable release that an ABI number does not, if it is of that very kernel."""
    known = config.release
    if release.proof is not Proof.BASE or known is None or known.version.branch != release.version.branch:
        return release, []
    signature = config.options.get("VERSION_SIGNATURE", "")  # Ubuntu's: "Ubuntu 5.15.0-79.86-generic 5.15.111"
    same_abi = bool(release.abi) and f"{release.version}.0-{release.abi}." in signature
    if not same_abi and not config.path.endswith(f"config-{release.release}"):
        note = (
            f"{config.path} says {known.version}, but nothing in it or in its name says that it is of {release.release}"
        )
        return release, [note]
    proof = Proof.EXACT if release.distro == "debian" else Proof.PATCHED
    note = f"{config.path} says {known.version}: taken as the stable release that {release.release} was built from"
    return release._replace(version=known.version, proof=proof), [note]


def _audit_release(target: Target, text: str, config: KernelConfig | None) -> TargetReport:
    release = parse_release(text)
    if release.architecture is not None or config is None:
        architecture = target.architecture(release.architecture, release.release)
    else:
        architecture = target.architecture(config.architecture, config.path)
    confidence = Confidence.HIGH
    if config is not None:
        release, notes = _refine(release, config)
        target.notes += notes
        confidence = Confidence.MEDIUM if notes else confidence
    target.release_facts(release, confidence)
    speaks = target.speaks(config, release, architecture)
    return target.report(release.release, TargetKind.RELEASE, identity_of(release, architecture), config, speaks)


def _audit_config(target: Target, config: KernelConfig) -> TargetReport:
    architecture = target.architecture(config.architecture, config.path)
    if config.release is not None:
        target.notes.append(f"the version {config.release.version} is the one in the header of {config.path}")
        target.release_facts(config.release, Confidence.MEDIUM)
    else:
        target.notes.append(f"{config.path} names no version: add --kernel")
    speaks = target.speaks(config, config.release, architecture)
    return target.report(config.path, TargetKind.CONFIG, identity_of(config.release, architecture), config, speaks)


def _audit_host(target: Target, progress: Progress) -> TargetReport:
    from analyzer.host import read_host

    progress("reading the running kernel")
    host = read_host()
    architecture = target.architecture(host.release.architecture, "this host")
    target.notes += host.notes
    target.release_facts(host.release)
    speaks = target.speaks(host.config, host.release, architecture) and host.config_speaks
    identity = identity_of(host.release, architecture, live_patches=", ".join(host.live_patches) or None)
    return target.report("this host", TargetKind.HOST, identity, host.config, speaks, bool(host.live_patches))


def _read_config(path: str | Path) -> KernelConfig:
    from pathlib import Path

    return read_config(Path(path).expanduser())


def _audit_changelog(
    target: Target, name: str, version: str | None, family: str | None, config: KernelConfig | None, progress: Progress
) -> TargetReport:
    from analyzer.distros.changelog import Family
    from analyzer.distros.detect import read_changelog
    from analyzer.evidence.changelog import read_changelog_facts

    progress(f"reading {name}")
    changelog = read_changelog(name, None if family is None else Family(family))
    facts = read_changelog_facts(target.catalog, changelog, version)
    target.evidence += facts.evidence
    target.notes += facts.notes
    target.release_facts(facts.release)
    named = None if config is None else config.architecture
    architecture = target.architecture(named, "" if config is None else config.path)
    speaks = target.speaks(config, facts.release, architecture)
    identity = identity_of(facts.release, architecture, changelog=changelog.path)
    return target.report(facts.release.package or facts.release.release, TargetKind.CHANGELOG, identity, config, speaks)


def _audit_package(target: Target, package: KernelPackage, config: KernelConfig | None) -> TargetReport:
    from analyzer.distros.changelog import Family
    from analyzer.distros.detect import parse_changelog
    from analyzer.evidence.changelog import read_changelog_facts
    from analyzer.evidence.config import parse_config

    named = None if package.architecture in _EVERY_ARCHITECTURE else normalize_architecture(package.architecture)
    architecture = target.architecture(named, package.path)
    if package.via is not None:
        target.notes.append(f"{package.via} is a metapackage: this is the kernel that it depends on, {package.path}")
    if package.changelog is None:
        target.notes.append(f"{package.name} has no changelog in it: only its version speaks")
        text = package.version if package.path.endswith(".rpm") else f"Debian {package.version}"
        release = parse_release(text)._replace(release=package.version)
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
    if used is None and package.config is not None:
        place, content = package.config
        label = place if place.startswith("/") else f"{package.path}:{place}"
        used = parse_config(content.decode("utf-8", "replace"), label)
    speaks = target.speaks(used, release, architecture)
    identity = identity_of(release, architecture, package=f"{package.name} {package.version}", image=package.image)
    return target.report(f"{package.name} {package.version}", TargetKind.PACKAGE, identity, used, speaks)


def _audit_packages(
    fresh: Callable[[], Target], names: Sequence[str], config: KernelConfig | None, progress: Progress
) -> list[TargetReport]:
    from analyzer.packages.read import read_package

    reports = []
    for name in names:
        progress(f"reading {name}")
        reports.append(_audit_package(fresh(), read_package(name), config))
    return reports


def _audit_installed(fresh: Callable[[], Target], progress: Progress, root: Path | None = None) -> list[TargetReport]:
    """Every installed kernel, the running one marked, and what a reboot into another would mend. `root` is for tests."""
    from pathlib import Path

    from analyzer.host import read_host
    from analyzer.packages.installed import installed_kernels

    place = root or Path("/")
    running = read_host(place).release
    reports = []
    for package in installed_kernels(place):
        progress(f"reading {package.name}")
        report = _audit_package(fresh(), package, None)
        runs = running.package == package.version and package.name.removesuffix("-unsigned").endswith(running.release)
        reports.append(report._replace(name=f"{report.name} (running)") if runs else report)
    if not reports:
        raise AuditError("no kernel package is installed here by dpkg; audit the running kernel without --installed")
    return [_with_pending_reboot(report, reports) for report in reports]


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


def audit(
    *,
    kernels: Sequence[str] = (),
    trees: Sequence[str] = (),
    rev: str | None = None,
    packages: Sequence[str] = (),
    installed: bool = False,
    changelog: str | None = None,
    package_version: str | None = None,
    changelog_format: str | None = None,
    config: str | Path | None = None,
    arch: str | None = None,
    catalog: Catalog | None = None,
    only: Iterable[str] = (),
    pitfalls: bool = False,
    progress: Progress = lambda _: None,
) -> Report:
    """Audit kernels named by release strings, trees by path, packages (.deb and .rpm files, names of installed
    ones, or all that are `installed`), a package by its changelog (at `package_version`, else the
    newest), one kernel by its configuration alone, or (nothing named) this host.

    `only` selects defects by slug or pitfall number, `pitfalls` those that carry a number. `progress` is called with what is
    being read. Raises AuditError on wrong usage and on input that cannot be read.
    """
    catalog = catalog or load_catalog()
    defects = select_defects(catalog, only, pitfalls)
    try:
        architecture = None if arch is None else normalize_architecture(arch)
    except UnknownArchitectureError as error:
        raise AuditError(f"--arch: {error}") from error
    if sum(map(bool, (kernels, trees, packages, installed, changelog))) > 1:
        raise AuditError(
            "--kernel, --tree, --package, --installed and --changelog name different targets: audit one after the other"
        )
    if (package_version or changelog_format) and not changelog:
        raise AuditError("--package-version and --changelog-format are about a changelog: name it with --changelog")
    if config is not None and len(kernels) + len(trees) + len(packages) > 1:
        raise AuditError("--config is of one kernel: name one target with it")
    if rev is not None and len(trees) != 1:
        raise AuditError("--rev is a revision of one tree: name it with --tree")
    kernel_config = None if config is None else _read_config(config)

    def fresh() -> Target:
        return Target(catalog, defects, architecture, pitfalls)

    targets: list[TargetReport] = []
    for text in kernels:
        targets.append(_audit_release(fresh(), text, kernel_config))
    if trees:
        from analyzer.audit_tree import audit_tree  # libgit2 and the C parser are not loaded for a version string

        for path in trees:
            targets.append(audit_tree(fresh(), path, rev, kernel_config, progress))
    if packages:
        targets += _audit_packages(fresh, packages, kernel_config, progress)
    if installed:
        targets += _audit_installed(fresh, progress)
    if changelog:
        targets.append(_audit_changelog(fresh(), changelog, package_version, changelog_format, kernel_config, progress))
    if not targets:
        targets.append(
            _audit_host(fresh(), progress) if kernel_config is None else _audit_config(fresh(), kernel_config)
        )
    return Report(tuple(targets), catalog)
