"""The audit: which sources are opened, how each is judged, and the report on all. This module does not print or exit.

`tailcall_audit.analyzer.judging` reads and judges one subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.basis import today
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.judging import judge_subject
from tailcall_audit.analyzer.model import AuditError, Report, Skipped, TargetReport
from tailcall_audit.analyzer.policy.series import first_fixed_by_series, with_pending_reboots
from tailcall_audit.analyzer.selection import given_config, named_architecture, select_defects
from tailcall_audit.analyzer.subjects.subject import ANY_DISTRIBUTION, Fleet, Progress, Request
from tailcall_audit.analyzer.targets import Source, Targets, check_parameters

if TYPE_CHECKING:
    from pathlib import Path

    from tailcall_audit.analyzer.subjects.online import Online
    from tailcall_audit.analyzer.web.repositories import KnownRepository

__all__ = ["Source", "audit", "audit_sources"]

_HARMLESS = ("release",)
"""Sources that are only matched against a few patterns. A separate process for them would cost more than the audit."""


def _judge_source(request: Request, source: Source) -> Iterator[TargetReport | Skipped]:
    """Yields the reports on a source's subjects. Raises AuditError if it cannot be opened or read."""
    opener, name = source
    module = import_module(f"tailcall_audit.analyzer.subjects.{opener}")
    for subject in module.open_subjects(request, name):
        yield subject if isinstance(subject, Skipped) else judge_subject(subject, request)


def _judge_apart(request: Request, source: Source) -> Iterator[TargetReport | Skipped]:
    """Does the same as `_judge_source` in a process with limits."""
    from tailcall_audit.analyzer.limits import limits_of
    from tailcall_audit.analyzer.worker import judge_apart

    return judge_apart(
        lambda progress: _judge_source(request._replace(progress=progress), source),
        limits_of(*source),
        request.catalog,
        request.progress,
    )


def _judged(request: Request, sources: Sequence[Source]) -> Iterator[TargetReport | AuditError | Skipped]:
    """Yields the report on every subject, or the reason why there is none. A failure does not affect the other
    subjects.
    """
    if request.online is not None:
        from tailcall_audit.analyzer.asking import judge_asking

        yield from judge_asking(request, sources, _judged)
        return
    for source in sources:
        apart = request.apart and source[0] not in _HARMLESS
        try:
            yield from (_judge_apart if apart else _judge_source)(request, source)
        except AuditError as error:
            yield Skipped(source[1], str(error)) if len(sources) > 1 else error


def audit_sources(request: Request, sources: Sequence[Source]) -> Report:
    """Audits every source. Raises AuditError if none of them could be judged."""
    items: list[TargetReport | Skipped] = []
    for item in _judged(request, sources):
        if isinstance(item, AuditError):
            if not items:
                raise item
            items.append(Skipped(sources[0][1], str(item)))
        else:
            items.append(item)
    targets = [item for item in items if isinstance(item, TargetReport)]
    skipped = [item for item in items if isinstance(item, Skipped)]
    if not targets:
        raise AuditError("; ".join(dict.fromkeys(item.reason for item in skipped)) or "there is nothing to audit")
    judged, fixed = tuple(with_pending_reboots(targets)), first_fixed_by_series(items)
    return Report(judged, request.catalog, fixed, tuple(skipped), request.today or today())


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
    fleet: Fleet = Fleet(),  # noqa: B008 (a named tuple is immutable)
    package_version: str | None = None,
    changelog_format: str | None = None,
    offline: bool = False,
    refresh: bool = False,
    config: str | Path | None = None,
    arch: str | None = None,
    catalog: Catalog | None = None,
    only: Iterable[str] = (),
    pitfalls: bool = False,
    severity: str | None = None,
    emulate: bool = True,
    built: bool = True,
    progress: Progress = lambda _: None,
    apart: bool = False,
    online: bool = False,
    repositories: Sequence[KnownRepository] = (),
    max_age: int | None = None,
) -> Report:
    """Audits kernels and returns the report.

    The kernels are named by release strings (`kernels`), by the paths of `trees` and `images`, by `packages` (.deb and
    .rpm files, names of installed packages or of those that `distro` publishes), by a `repository`, by a `changelog`
    (at `package_version`, otherwise at its newest version), or by a `config` alone. `installed` audits all installed
    kernels. If nothing is named, the kernel of this host is audited. `fleet` names sources of many kernels
    (docs/fleets.md).

    Downloads are cached: `offline` uses only the cache, `refresh` downloads everything again. `only` selects defects by
    slug or pitfall number, `pitfalls` those with a pitfall number, `severity` those of this severity and above. With
    `emulate`, functions of an image are run in an emulator (docs/emulation.md). With `built`, a `vmlinux` in the top
    directory of a tree is audited as a separate image, after the tree. `progress` is called with a description of what
    is being read.

    With `online`, what a release string leaves unknown is looked up in the changelog of its build: where its
    distribution publishes one, or in one of the `repositories` that contains the build.

    A catalogue or survey that is older than `max_age` days does not decide anything.

    With `apart`, each source is read in a forked process with limits on time and memory. Use it only in a program
    without threads.

    An input that cannot be judged is listed in the report's `skipped`. Raises UsageError for parameters that contradict
    each other, and AuditError if nothing could be judged.
    """
    loaded = catalog or load_catalog()
    targets = Targets(kernels, trees, packages, images, installed, repository, changelog, fleet)
    sources = targets.sources(loaded)
    request = Request(loaded, (), pitfalls=pitfalls, progress=progress, apart=apart, emulate=emulate)
    request = request._replace(rev=rev, system_map=system_map, distro=distro, offline=offline, refresh=refresh)
    request = request._replace(package_version=package_version, changelog_format=changelog_format)
    known = tuple(name for item in repositories for name in item.distributions or (ANY_DISTRIBUTION,))
    request = request._replace(max_age=max_age, today=today(), fleet=fleet)
    request = request._replace(online=_online(repositories) if online else None, repositories=known)
    check_parameters(request, targets, len(sources), has_config=config is not None)
    request = request._replace(
        defects=select_defects(loaded, only, pitfalls, severity),
        arch=named_architecture(arch),
        config=given_config(config, loaded),
    )
    return _audit_named(request, sources, trees if built else (), config)


def _audit_named(
    request: Request, sources: Sequence[Source], trees: Sequence[str], config: str | Path | None
) -> Report:
    """Audits what a request names: a list of nodes, or sources. Without either, audits the configuration or
    this host.
    """
    if request.fleet.nodes is not None:
        return _audit_nodes(request, request.fleet.nodes)
    if not sources:
        sources = [("host", "this host")] if config is None else [("config", str(config))]
    return audit_sources(request, [*sources, *(_built(trees) if request.rev is None else ())])


def _audit_nodes(request: Request, name: str) -> Report:
    from tailcall_audit.analyzer.fleet import audit_nodes

    if request.online is None:
        return audit_nodes(request, name)
    from tailcall_audit.analyzer.asking import look_up_nodes

    return audit_nodes(request, name, partial(look_up_nodes, request))


def _online(repositories: Sequence[KnownRepository]) -> Online:
    from tailcall_audit.analyzer.subjects.online import Online

    return Online(repositories)


def _built(trees: Iterable[str]) -> Iterator[Source]:
    """Yields the kernels that were built in the given trees, each once."""
    if not trees:
        return
    from tailcall_audit.analyzer.subjects.locate_tree import built_kernel

    yield from (("image", str(path)) for path in dict.fromkeys(map(built_kernel, trees)) if path is not None)
