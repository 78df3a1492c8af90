"""Finds the surveys that have read the changelog of a release's build, and the command that settles what is open."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tailcall_audit.analyzer.catalog.load import default_catalog_path
from tailcall_audit.analyzer.catalog.shipped import shipped_reaches
from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact, SeriesReach
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import Evidence, Presence
from tailcall_audit.analyzer.readers.series import extends_to

__all__ = ["reaches_of", "taught"]

_READ = (
    "tailcall-audit --tree PATH   on the sources that it was built from; survey {survey} has read its changelog, which"
    " leaves this open"
)


def _covers(catalog: Catalog, reach: SeriesReach, release: KernelRelease) -> bool:
    """Returns True if the changelog of a release's build is a part of what was read: it lists the builds before its own
    on the same line, as far as an absence extends.
    """
    fact = SeriesFact(reach.distro, reach.series, reach.base, "", False, reach.through, False, "", None)
    return extends_to(catalog, fact, release)


def reaches_of(catalog: Catalog, release: KernelRelease) -> tuple[SeriesReach, ...]:
    """Returns the surveys, the user's and the shipped ones, that have read the changelog of a release's build. What they
    leave open, that changelog leaves open.
    """
    distro = release.lineage[0] if release.lineage else release.distro
    if distro is None:
        return ()
    shipped = shipped_reaches(distro) if catalog.path == default_catalog_path() else ()
    return tuple(
        reach
        for reach in (*catalog.reaches, *shipped)
        if (reach.distro, reach.base, reach.rebuilder) == (distro, release.version.branch, release.rebuilder)
        and _covers(catalog, reach, release)
    )


def taught(catalog: Catalog, found: Iterable[Evidence], release: KernelRelease) -> Iterator[Evidence]:
    """Yields evidence with the command that settles each open question about a commit: the one that looks up the build's
    changelog, or the sources if a survey has read it.
    """
    reaches = reaches_of(catalog, release)
    for item in found:
        settle = None
        if item.presence is Presence.UNKNOWN and item.commit in catalog.commits:
            survey = next((reach.survey for reach in reaches if item.commit not in reach.apart), None)
            settle = release.teach if survey is None else _READ.format(survey=survey)
        yield item if settle is None else item._replace(settle=settle)
