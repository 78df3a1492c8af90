"""Evidence from the surveys of distributions: facts about a series of builds, from their own changelogs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.distribution import Distribution, Proof
from tailcall_audit.analyzer.catalog.load import default_catalog_path
from tailcall_audit.analyzer.catalog.shipped import shipped_facts
from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.version import build_key, parse_version

__all__ = ["line_of", "read", "series_evidence"]


_KERNEL = 3
"""The numbers of a build that are the kernel's own: 5.14.0 of 5.14.0-427.13.1."""


def line_of(build: tuple[int, ...], zero_is_main: bool = False) -> tuple[int, ...]:
    """Returns the numbers at which a z-stream leaves the main line, from the numbers of its build; empty for the main
    line itself. With `zero_is_main` a build is on the main line if its second own number is 0.
    """
    if zero_is_main and not any(build[_KERNEL + 1 : _KERNEL + 2]):
        return ()
    return build[: _KERNEL + 1] if len(build) > _KERNEL + 1 else ()


def _same_line(fact: SeriesFact, ours: tuple[int, ...], theirs: tuple[int, ...], zero_is_main: bool) -> bool:
    """Returns True if a fact about one build extends to another where z-streams branch off: 427.13.1 leaves the main
    line at 427.

    If a build of the main line has a commit, all later builds and their z-streams have it; if it lacks one, the earlier
    builds of that line lack it. If a z-stream has a commit, only its own later builds have it: 430 follows 427, not
    427.40.1.
    """
    if fact.present:
        return ours >= theirs and line_of(theirs, zero_is_main) in ((), ours[: _KERNEL + 1])
    return ours <= theirs and line_of(ours, zero_is_main) in ((), theirs[: _KERNEL + 1])


def _builds_match(fact: SeriesFact, name: str, distribution: Distribution | None) -> bool:
    """Returns True if a fact about a build, or about a build and later ones, holds for this one. An exact build is
    compared as a whole.
    """
    if fact.exact:
        return name == fact.start or name.startswith((f"{fact.start}.", f"{fact.start}+", f"{fact.start}-"))
    if name == fact.start or name.startswith(f"{fact.start}-"):
        return True  # a build of that release (5.10.198-android12-9-00015-g…)
    ours, theirs = build_key(name), build_key(fact.start)
    if distribution is not None and distribution.z_streams:
        return _same_line(fact, ours, theirs, distribution.zero_is_main)
    return ours >= theirs if fact.present else ours <= theirs


def _names_series(fact: SeriesFact, distribution: Distribution | None, name: str) -> bool:
    """Returns True if a release belongs to the fact's series, for a distribution that writes the series into its
    releases (``.el9``, ``-android12-``).
    """
    if distribution is None or not distribution.series_in_release:
        return True
    form = distribution.changelog
    for line in () if form is None else form.lines:
        if line.tag == fact.series and line.builds is not None and re.search(line.builds, name, re.ASCII) is None:
            return False
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(fact.series)}(?![0-9])", name) is not None


def _took_out(catalog: Catalog, fact: SeriesFact) -> bool:
    """Returns True if a build lacks what the stable release that it is based on has: its vendor took the commit out."""
    branch = catalog.commits[fact.commit].branches.get(fact.base)
    based_on = parse_version(re.split(r"[-+_]", fact.start)[0])
    return not fact.present and branch is not None and branch.release is not None and based_on >= branch.release


def _from(catalog: Catalog, fact: SeriesFact, inherited_from: str | None) -> Evidence:
    detail = f"{fact.series}: {fact.commit} {'from' if fact.present else 'not in'} {fact.start}"
    if inherited_from is not None:
        detail += f", by the changelog of {inherited_from}, of whose build this is one more"
    presence = Presence.PRESENT if fact.present else Presence.ABSENT
    # What a build lacks was read from a changelog's silence, or from the code of another release.
    sure = Confidence.MEDIUM if fact.note or not fact.present or inherited_from is not None else Confidence.HIGH
    basis = fact.basis or Basis("", catalog.date)
    return Evidence(EvidenceKind.SERIES, fact.commit, presence, fact.source, detail, sure, basis=basis)


def _surveyed(catalog: Catalog, names: Sequence[str]) -> Iterator[SeriesFact]:
    """Yields the shipped surveys' facts about distributions; none for a catalogue that is not the shipped one."""
    if names and catalog.path == default_catalog_path():
        for name in names:
            yield from shipped_facts(name)


def series_evidence(catalog: Catalog, release: KernelRelease) -> Iterator[Evidence]:
    """Yields what a distribution's own changelog proved about builds like this one.

    A rebuild has what the original build has, with medium confidence; what the original lacks, the rebuild may have
    added. A commit that a vendor was seen to take out of a stable release is unknown in its other builds of that
    branch, even if the stable release has it.
    """
    distributions = {entry.name: entry for entry in catalog.distributions}
    names = release.lineage or ((release.distro,) if release.distro else ())
    known: set[str] = set()
    taken_out: dict[str, SeriesFact] = {}
    for fact in (*catalog.series, *_surveyed(catalog, names)):
        distribution = distributions.get(fact.distro)
        if fact.distro not in names or fact.base != release.version.branch or release.proof is Proof.NOTHING:
            continue
        is_rebuild = fact.distro != names[0] or release.rebuilder is not None
        if is_rebuild and not fact.present:
            continue
        if distribution is not None and distribution.by_package and release.package is None:
            continue  # an ABI number cannot be compared with a package version
        if _took_out(catalog, fact):
            taken_out[fact.commit] = fact
        name = release.package or release.release
        if _names_series(fact, distribution, release.release) and _builds_match(fact, name, distribution):
            known.add(fact.commit)
            yield _from(catalog, fact, None if not is_rebuild or distribution is None else distribution.vendor)
    for commit, fact in taken_out.items():
        if commit not in known:
            detail = f"{fact.start} is without {commit}, which its stable release has; whether {release.release} has it is not known"
            yield Evidence(
                EvidenceKind.SERIES,
                commit,
                Presence.UNKNOWN,
                fact.source,
                detail,
                Confidence.LOW,
                settle=release.teach or release.settle,
            )


def read(subject: Subject, request: Request) -> Reading:
    """Reads what is known of the series of builds that the subject's release names."""
    assert subject.release is not None  # the registry's condition
    return Reading(tuple(series_evidence(request.catalog, subject.release)))
