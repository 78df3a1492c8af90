"""For a package: the first version of its series without each defect, and the commits that fix it there.

Nothing is to be picked: the distribution's own newer version is the answer. Versions come from a repository's index, or
from the catalogue's surveys of the series.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.judging import judge_subject
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tailcall_audit.analyzer.kernelfiles.package_types import KernelPackage, NotInstalledError
from tailcall_audit.analyzer.kernelfiles.packages_index import sort_kernels
from tailcall_audit.analyzer.kernelfiles.release.schemes import known_architecture
from tailcall_audit.analyzer.kernelfiles.rpm_version import rpm_key
from tailcall_audit.analyzer.model import AuditError, Presence, Report, Skipped, State, TargetReport, Verdict
from tailcall_audit.analyzer.pipeline import audit_sources
from tailcall_audit.analyzer.plan.types import FirstWithout, KnownFrom, Left, SeriesPlan
from tailcall_audit.analyzer.policy.series import first_fixed
from tailcall_audit.analyzer.policy.weigh import weigh
from tailcall_audit.analyzer.subjects.package import subject_of_package
from tailcall_audit.analyzer.subjects.subject import Request
from tailcall_audit.analyzer.version import parse_version

__all__ = ["plan_for_package", "plan_for_repository"]


class _Builds(NamedTuple):
    """The builds of a series, oldest first, and where they are known from."""

    kernel: str
    items: Sequence[TargetReport | Skipped]
    known_from: KnownFrom


def _fixing(verdict: Verdict) -> tuple[str, ...]:
    """Returns the commits of the fix that are present, by the evidence of a verdict."""
    found = []
    for key in dict.fromkeys(leaves(verdict.defect.fixed)):
        items = [item for item in verdict.evidence if item.commit == key]
        if weigh(items).presence is Presence.PRESENT:
            found.append(key)
    return tuple(found)


def _first(builds: _Builds, defect: Defect, planned_for: str) -> FirstWithout:
    """Returns the first build without a defect, after which no later one has it."""
    version = next(
        (item.version for item in first_fixed(builds.kernel, builds.items) if item.defect == defect.slug), None
    )
    target = next((item for item in builds.items if isinstance(item, TargetReport) and item.name == version), None)
    if version is None or target is None:
        return FirstWithout(builds.kernel, planned_for, defect.slug, None, (), "", builds.known_from)
    verdict = next(item for item in target.verdicts if item.defect.slug == defect.slug)
    return FirstWithout(
        builds.kernel, planned_for, defect.slug, version, _fixing(verdict), verdict.reason, builds.known_from
    )


def _states(report: TargetReport, defects: Iterable[Defect], state: State) -> list[Defect]:
    return [defect for defect in defects if report.states.get(defect.slug) is state]


def _unknown(reports: Iterable[TargetReport]) -> tuple[Left, ...]:
    left: dict[str, Left] = {}
    for report in reports:
        for verdict in report.verdicts:
            if verdict.state is State.UNKNOWN:
                reason = f"{report.name}: {verdict.reason}"
                left.setdefault(verdict.defect.slug, Left(verdict.defect.slug, reason, verdict.settle))
    return tuple(left.values())


def _by_series(report: Report) -> dict[str, list[TargetReport | Skipped]]:
    """Returns the builds of each series. One that cannot be placed may be the newest of any series."""
    found: dict[str, list[TargetReport | Skipped]] = {}
    for item in report.targets:
        found.setdefault(item.series or item.name, []).append(item)
    for row in report.skipped:
        for name, builds in found.items():
            if row.series in (None, name):
                builds.append(row)
    return found


def plan_for_repository(request: Request, place: str) -> SeriesPlan:
    """Returns the first version without each defect for every series of a repository; raises AuditError."""
    report = audit_sources(request, [("repository", place)])
    items = []
    newest = []
    for name, builds in _by_series(report).items():
        targets = [build for build in builds if isinstance(build, TargetReport)]
        newest += targets[-1:]
        for defect in request.defects:
            having = [target for target in targets if target.states.get(defect.slug) is State.AFFECTED]
            if having:
                items.append(_first(_Builds(name, builds, KnownFrom.REPOSITORY), defect, having[-1].name))
    skipped = tuple(f"skipped: {row.label}: {row.reason}" for row in report.skipped)
    return SeriesPlan(place, tuple(items), _unknown(newest), skipped)


def _package(request: Request, name: str) -> KernelPackage:
    """Returns the package of a name: a file, an installed one, or a name with a version."""
    try:
        return read_package(name)
    except NotInstalledError:
        plain, _, version = name.partition("=")
        if request.distro is None or not version:
            raise
        architecture = next((part for part in plain.split("-") if known_architecture(part) is not None), "all")
        return KernelPackage(name, plain, version, architecture, plain, None, None, None)


def _newer(package: KernelPackage, versions: Iterable[str]) -> list[str]:
    """Returns the versions after a package's, oldest first, in the order of its kind of package."""
    unique = dict.fromkeys(versions)
    if package.is_rpm:
        return sorted((item for item in unique if rpm_key(item) > rpm_key(package.version)), key=rpm_key)
    rows = [KernelPackage("", "linux", item, "all", "linux", None, None, None) for item in {*unique, package.version}]
    ordered = [row.version for row in sort_kernels(rows)]
    return [item for item in ordered[ordered.index(package.version) + 1 :] if item in unique]


def _in_repository(request: Request, package: KernelPackage, target: TargetReport, place: str) -> _Builds:
    """Returns the builds of a repository that are newer than a package, of its series."""
    report = audit_sources(request._replace(config=None), [("repository", place)])
    name = package.name if package.is_rpm else "linux"
    series = f"{name} {package.architecture}"
    builds = _by_series(report).get(series)
    if builds is None:
        have = ", ".join(sorted(_by_series(report))[:8])
        raise AuditError(f"--repo {place}: nothing of the series {series!r} in it; there are {have}")
    versions = [build.version for build in builds if isinstance(build, TargetReport) and build.version is not None]
    newer = set(_newer(package, versions))
    later = [build for build in builds if isinstance(build, Skipped) or build.version in newer]
    return _Builds(series, [target, *later], KnownFrom.REPOSITORY)


def _surveyed(request: Request, package: KernelPackage, target: TargetReport) -> _Builds:
    """Returns the builds of a package's series that the catalogue's surveys list, each judged by its version alone."""
    distro, base = target.identity.get("distro"), _base(target)
    versions: list[str] = []
    for distribution in request.catalog.distributions:
        if distribution.name == distro:
            listed = distribution.survey.get("series", {}).get(base, {}).get("abi", {})
            versions += [item for items in listed.values() for item in items]
    versions += [fact.start for fact in request.catalog.series if fact.distro == distro and fact.base == base]
    builds: list[TargetReport | Skipped] = [target]
    source = (
        package.source.partition(" ")[0] or package.name
    )  # "linux-signed-amd64 (6.1.170+3)" has the version of the sources
    for version in _newer(package, versions):
        known = KernelPackage(
            f"{source} {version}",
            source,
            version,
            package.architecture,
            source,
            None,
            None,
            None,
            is_rpm=package.is_rpm,
        )
        request.progress(f"judging {source} {version}")
        try:
            builds.append(judge_subject(subject_of_package(request, known), request))
        except AuditError as error:
            builds.append(Skipped(version, str(error)))
    return _Builds(f"{source} {base}" if base else source, builds, KnownFrom.CATALOGUE)


def _base(target: TargetReport) -> str:
    upstream = target.identity.get("upstream")
    return parse_version(upstream).branch if upstream else ""


def _in_stable(catalog: Catalog, defect: Defect, base: str) -> str:
    """Returns the catalogue's facts about the fix in the stable branch that a package is based on."""
    known = []
    for key in dict.fromkeys(leaves(defect.fixed)):
        fact = catalog.commits[key].branches.get(base)
        if fact is not None and fact.backported:
            when = f"since {fact.release}" if fact.release else f"by {fact.present_by}"
            known.append(f"kernel.org's {base}.y has {key} {when}")
        elif fact is not None:
            known.append(f"kernel.org's {base}.y lacks {key} through {fact.surveyed_through}")
        else:
            known.append(f"mainline has {key} since {catalog.commits[key].first_release}")
    return "; ".join(known) or "no fix is known"


def plan_for_package(request: Request, name: str, repository: str | None) -> SeriesPlan:
    """Returns the first later version of a package's series without each defect that it has; raises AuditError."""
    report = audit_sources(request, [("package", name)])
    target = report.targets[0]
    package = _package(request, name)
    affected = _states(target, request.defects, State.AFFECTED)
    if not affected:
        return SeriesPlan(target.name, (), _unknown([target]), target.notes)
    if repository is not None:
        builds = _in_repository(request, package, target, repository)
    else:
        builds = _surveyed(request, package, target)
    items = []
    for defect in affected:
        found = _first(builds, defect, target.name)
        if found.version is None:
            found = found._replace(reason=_in_stable(request.catalog, defect, _base(target)))
        items.append(found)
    return SeriesPlan(target.name, tuple(items), _unknown([target]), target.notes)
