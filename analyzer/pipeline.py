"""The audit: from a target to its report. Gathers evidence, asks `tailcall_audit.analyzer.policy.verdict`, prints nothing and never exits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig, read_config
from tailcall_audit.analyzer.model import AuditError, Bootable, Confidence, FirstFixed, Report, TargetKind, TargetReport
from tailcall_audit.analyzer.subjects.release_string import KernelRelease, kernel_lines, parse_release
from tailcall_audit.analyzer.subjects.schemes import Proof
from tailcall_audit.analyzer.subjects.target import Target, identity_of

if TYPE_CHECKING:
    from pathlib import Path

    from tailcall_audit.analyzer.subjects.host import Host
    from tailcall_audit.analyzer.subjects.package import PackageAudit
__all__ = ["audit", "select_defects"]

Progress = Callable[[str], None]


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
    release = parse_release(text, target.catalog)
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


def _read_host_binary(target: Target, host: Host, progress: Progress) -> None:
    """Add what the image of the running kernel says, where it can be read; else what the running kernel says of its types."""
    from tailcall_audit.analyzer.kernelfiles.bootable import read_bootable
    from tailcall_audit.analyzer.subjects.image import read_image, read_running_btf

    if host.image is not None:
        try:
            facts = read_image(target, read_bootable(Bootable(host.image)), host.image, progress)
        except AuditError as error:
            target.notes.append(str(error))
        else:
            target.evidence += facts.evidence
            target.notes += facts.notes
            return
    if host.btf is not None:
        evidence, notes = read_running_btf(target, host.btf)
        target.evidence += evidence
        target.notes += notes


def _audit_host(target: Target, progress: Progress) -> TargetReport:
    from tailcall_audit.analyzer.subjects.host import read_host

    progress("reading the running kernel")
    host = read_host()
    architecture = target.architecture(host.release.architecture, "this host")
    target.notes += host.notes
    _read_host_binary(target, host, progress)
    target.release_facts(host.release)
    speaks = target.speaks(host.config, host.release, architecture) and host.config_speaks
    identity = identity_of(host.release, architecture, live_patches=", ".join(host.live_patches) or None)
    from tailcall_audit.analyzer.subjects.image import with_overruled

    report = target.report("this host", TargetKind.HOST, identity, host.config, speaks, bool(host.live_patches))
    report = with_overruled(report)
    return report if host.image is None else report._replace(bootable=Bootable(host.image))


def _read_config(path: str | Path) -> KernelConfig:
    from tailcall_audit.analyzer.paths import expanded

    return read_config(expanded(path))


def _package_audit(
    fresh: Callable[[], Target], offline: bool, refresh: bool, config: KernelConfig | None, progress: Progress
) -> PackageAudit:
    # Archives, HTTP and XML are not loaded for a version string.
    from tailcall_audit.analyzer.subjects.package import PackageAudit
    from tailcall_audit.analyzer.web.fetch import Fetcher

    return PackageAudit(fresh, Fetcher(offline=offline, refresh=refresh, progress=progress), progress, config)


def _each(names: Sequence[str], skipped: list[str], one: Callable[[str], TargetReport]) -> list[TargetReport]:
    """The reports of what is named. One that cannot be audited is added to `skipped`; raises AuditError where none can be."""
    found = []
    for name in names:
        try:
            found.append(one(name))
        except AuditError as error:
            if len(names) == 1:
                raise
            skipped.append(str(error))
    if names and not found:
        raise AuditError(skipped[0])
    return found


def audit(
    *,
    kernels: Sequence[str] = (),
    trees: Sequence[str] = (),
    rev: str | None = None,
    packages: Sequence[str] = (),
    images: Sequence[str] = (),
    system_map: str | None = None,
    installed: bool = False,
    distro: str | None = None,
    repository: str | None = None,
    changelog: str | None = None,
    package_version: str | None = None,
    changelog_format: str | None = None,
    offline: bool = False,
    refresh: bool = False,
    config: str | Path | None = None,
    arch: str | None = None,
    catalog: Catalog | None = None,
    only: Iterable[str] = (),
    pitfalls: bool = False,
    progress: Progress = lambda _: None,
) -> Report:
    """Audit kernels named by release strings, trees by path, packages (.deb and .rpm files, names of installed
    ones or of those that `distro` publishes, or all that are `installed`), kernel images, every kernel of a `repository`, a package by its
    `changelog` (at `package_version`, else the newest), one kernel by its configuration alone, or (nothing named) this host.

    What is fetched is kept in a cache: `offline` uses nothing else, `refresh` asks for everything anew. `only` selects defects by slug or pitfall number, `pitfalls` those that carry a number. `progress` is called with what is
    being read. Raises AuditError on wrong usage and on input that cannot be read; of several targets, only where none can be.
    """
    catalog = catalog or load_catalog()
    defects = select_defects(catalog, only, pitfalls)
    try:
        architecture = None if arch is None else normalize_architecture(arch)
    except UnknownArchitectureError as error:
        raise AuditError(f"--arch: {error}") from error
    if sum(map(bool, (kernels, trees, packages, images, installed, repository, changelog))) > 1:
        raise AuditError(
            "--kernel, --tree, --package, --image, --installed, --repo and --changelog name different targets: audit one after the other"
        )
    if distro and not packages:
        raise AuditError("--distro says where a package's changelog is published: name the package with --package")
    if offline and refresh:
        raise AuditError("--offline and --refresh contradict each other")
    if (package_version or changelog_format) and not changelog:
        raise AuditError("--package-version and --changelog-format are about a changelog: name it with --changelog")
    kernels = tuple(line for text in kernels for line in kernel_lines(text, catalog))
    if config is not None and len(kernels) + len(trees) + len(packages) + len(images) > 1:
        raise AuditError("--config is of one kernel: name one target with it")
    if rev is not None and len(trees) != 1:
        raise AuditError("--rev is a revision of one tree: name it with --tree")
    if system_map is not None and len(images) != 1:
        raise AuditError("--system-map is of one image: name it with --image")
    kernel_config = None if config is None else _read_config(config)

    def fresh() -> Target:
        return Target(catalog, defects, architecture, pitfalls)

    skipped: list[str] = []
    targets: list[TargetReport] = []
    targets += _each(kernels, skipped, lambda text: _audit_release(fresh(), text, kernel_config))
    if trees:
        from tailcall_audit.analyzer.subjects.tree import (
            audit_tree,
        )  # libgit2 and the C parser are not loaded for a version string

        targets += _each(trees, skipped, lambda path: audit_tree(fresh(), path, rev, kernel_config, progress))
    if images:
        from tailcall_audit.analyzer.subjects.image import audit_image

        targets += _each(images, skipped, lambda name: audit_image(fresh(), name, kernel_config, system_map, progress))
    firsts: tuple[FirstFixed, ...] = ()
    if packages or installed or repository or changelog:
        audits = _package_audit(fresh, offline, refresh, kernel_config, progress)
        targets += _each(packages, skipped, lambda name: audits.named(name, distro))
        if installed:
            targets += audits.installed()
        if repository:
            found, firsts, rows = audits.repository(repository)
            targets += found
            skipped += rows
        if changelog:
            targets.append(audits.changelog(changelog, package_version, changelog_format))
    if not targets:
        targets.append(
            _audit_host(fresh(), progress) if kernel_config is None else _audit_config(fresh(), kernel_config)
        )
    return Report(tuple(targets), catalog, firsts, tuple(skipped))
