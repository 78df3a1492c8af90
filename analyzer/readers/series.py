"""Evidence from the surveys of distributions: facts about a series of builds, from their own changelogs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.distribution import Distribution, Proof
from tailcall_audit.analyzer.catalog.load import default_catalog_path
from tailcall_audit.analyzer.catalog.memory import Memory
from tailcall_audit.analyzer.catalog.shipped import shipped_facts
from tailcall_audit.analyzer.catalog.types import Catalog, SeriesFact
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.version import build_key, parse_version

__all__ = ["extends_to", "facts_of_series", "line_of", "matching_facts", "read", "series_evidence"]


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


class _Known(NamedTuple):
    """A fact, and what its comparison with builds needs: its distribution, the numbers of its build, and True in
    `took_out` if the build lacks what the stable release that it is based on has. No other fact has its `number`.
    """

    number: int
    fact: SeriesFact
    distribution: Distribution | None
    numbers: tuple[int, ...]
    took_out: bool


_UPSTREAM = re.compile(r"\d{1,3}\.\d{1,3}(?:\.\d{1,5})?(?!\d)", re.ASCII)
_NUMBERS = count()
_KNOWN: Memory[tuple[tuple[str, ...], str], tuple[_Known, ...]] = Memory(500)


class _Match(NamedTuple):
    """A fact that holds for a build. `inherited_from` is who wrote the changelog, if that is another vendor of the same
    sources: the original's for a rebuild, a rebuilder's for the original.
    """

    known: _Known
    inherited_from: str | None


class _Matches(NamedTuple):
    """The facts that hold for a build, and those about commits that its vendor took out of another build."""

    holding: tuple[_Match, ...] = ()
    taken_out: tuple[_Known, ...] = ()


def _builds_match(known: _Known, name: str, ours: tuple[int, ...]) -> bool:
    """Returns True if a fact about a build, or about a build and later ones, holds for the build with this name and
    these numbers. An exact build is compared as a whole.
    """
    fact, distribution = known.fact, known.distribution
    if fact.exact:
        return name == fact.start or name.startswith((f"{fact.start}.", f"{fact.start}+", f"{fact.start}-"))
    if name == fact.start or name.startswith(f"{fact.start}-"):
        return True  # a build of that release (5.10.198-android12-9-00015-g…)
    if distribution is not None and distribution.z_streams:
        return _same_line(fact, ours, known.numbers, distribution.zero_is_main)
    return ours >= known.numbers if fact.present else ours <= known.numbers


def _may_inherit(fact: SeriesFact, name: str) -> bool:
    """Returns True if what a vendor's build has, another vendor's build of this name has too. A rebuilder adds patches of
    its own, which no other build has but the one that it built anew.
    """
    return fact.rebuilder is None or name == fact.start or name.startswith(f"{fact.start}.")


def _names_series(fact: SeriesFact, distribution: Distribution | None, name: str) -> bool:
    """Returns True if a release belongs to the fact's series, for a distribution that writes the series into its
    releases (``.el9``, ``-android12-``).
    """
    if distribution is None or not distribution.series_in_release:
        return True
    lines = () if distribution.changelog is None else distribution.changelog.lines
    named = {line.tag for line in lines}
    for line in lines:
        # A line without a tag of its own is that of plain tags (ph5, azure). A flavour's are longer: ph5-esx, azure-nvidia.
        is_its = fact.series == line.tag if line.tag or fact.series in named else "-" not in fact.series
        if is_its and line.builds is not None and re.search(line.builds, name, re.ASCII) is None:
            return False
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(fact.series)}(?![A-Za-z0-9])", name) is not None


def _took_out(catalog: Catalog, fact: SeriesFact) -> bool:
    """Returns True if a build lacks what the stable release that it is based on has: its vendor took the commit out."""
    branch = catalog.commits[fact.commit].branches.get(fact.base)
    if fact.present or branch is None or branch.release is None:
        return False
    based_on = _UPSTREAM.match(fact.start)  # 6.6.64.2-1.azl3 is based on 6.6.64
    return based_on is not None and parse_version(based_on.group()) >= branch.release


def _from(catalog: Catalog, fact: SeriesFact, inherited_from: str | None) -> Evidence:
    detail = f"{fact.series}: {fact.commit} {'from' if fact.present else 'not in'} {fact.start}"
    if inherited_from is not None:
        of_whom = "of whose build this is one more" if fact.rebuilder is None else "whose build has the same name"
        detail += f", by the changelog of {inherited_from}, {of_whom}"
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


def _about(catalog: Catalog, names: tuple[str, ...], branch: str) -> tuple[_Known, ...]:
    """Returns the facts about builds of these distributions on a branch. They are the same for all kernels of it."""
    answers = _KNOWN.of(catalog)
    if (names, branch) not in answers:
        distributions = {entry.name: entry for entry in catalog.distributions}
        answers[names, branch] = tuple(
            _Known(
                next(_NUMBERS), fact, distributions.get(fact.distro), build_key(fact.start), _took_out(catalog, fact)
            )
            for fact in (*catalog.series, *_surveyed(catalog, names))
            if fact.distro in names and fact.base == branch
        )
    return answers[names, branch]


def _is_of_a_later_upload(known: _Known, release: KernelRelease, ours: tuple[int, ...]) -> bool:
    """Returns True if an upload has a commit whose number a release does not name: it may be of this upload (35.36) or of
    an earlier one that lacks the commit (35.35).
    """
    names_none = release.package is None and known.distribution is not None and known.distribution.uploads is not None
    return names_none and known.fact.present and known.numbers[: len(ours)] == ours


def _numbers(release: KernelRelease, name: str) -> tuple[int, ...]:
    """Returns the numbers of a release's build. Those of its flavour are none of them: 64k, raspi2, amd64."""
    flavour = f"-{release.flavour}"
    return build_key(name.removesuffix(flavour) if release.flavour else name)


def _matches(catalog: Catalog, release: KernelRelease) -> _Matches:
    names = release.lineage or ((release.distro,) if release.distro else ())
    if release.proof is Proof.NOTHING or not names:
        return _Matches()
    holding: list[_Match] = []
    taken_out: dict[str, _Known] = {}
    later: set[str] = set()
    name = release.package or release.release
    ours = _numbers(release, name)
    in_series: dict[tuple[str, str], bool] = {}
    for known in _about(catalog, names, release.version.branch):
        fact, distribution = known.fact, known.distribution
        is_another_s = fact.distro != names[0] or fact.rebuilder != release.rebuilder
        if is_another_s and not (fact.present and _may_inherit(fact, name)):
            continue
        if distribution is not None and distribution.by_package and release.package is None:
            continue  # an ABI number cannot be compared with a package version
        if known.took_out:
            taken_out[fact.commit] = known
        line = (fact.distro, fact.series)
        if line not in in_series:
            in_series[line] = _names_series(fact, distribution, release.release)
        if in_series[line] and _builds_match(known, name, ours):
            owner = fact.rebuilder or (None if distribution is None else distribution.vendor)
            holding.append(_Match(known, owner if is_another_s else None))
        elif in_series[line] and _is_of_a_later_upload(known, release, ours):
            later.add(fact.commit)
    holding = [item for item in holding if item.known.fact.present or item.known.fact.commit not in later]
    decided = {item.known.fact.commit for item in holding}
    return _Matches(tuple(holding), tuple(known for commit, known in taken_out.items() if commit not in decided))


def extends_to(catalog: Catalog, fact: SeriesFact, release: KernelRelease) -> bool:
    """Returns True if a fact about a series of a release's own distribution holds for its build: for each package that
    it may be of.
    """
    distribution = next((item for item in catalog.distributions if item.name == fact.distro), None)
    by_package = distribution is not None and distribution.by_package
    names = [build.package for build in release.builds] or [release.package or ("" if by_package else release.release)]
    known = _Known(0, fact, distribution, build_key(fact.start), False)
    return _names_series(fact, distribution, release.release) and all(
        bool(name) and _builds_match(known, name, _numbers(release, name)) for name in names
    )


def matching_facts(catalog: Catalog, release: KernelRelease) -> object:
    """Returns what decides the series evidence of a release. Releases for which it is equal have the same evidence,
    except for their names.
    """
    found = _matches(catalog, release)
    return (
        tuple([(item.known.number, item.inherited_from) for item in found.holding]),
        tuple([item.number for item in found.taken_out]),
    )


def facts_of_series(
    catalog: Catalog, distribution: str, base: str, tag: str, build: str
) -> Iterator[tuple[SeriesFact, bool]]:
    """Yields what is known of the builds of a series, the shipped surveys included, and if each fact holds for a build."""
    numbers = build_key(build)
    for known in _about(catalog, (distribution,), base):
        if known.fact.series == tag:
            yield known.fact, _builds_match(known, build, numbers)


def series_evidence(catalog: Catalog, release: KernelRelease) -> Iterator[Evidence]:
    """Yields what a distribution's own changelog proved about builds like this one.

    A rebuild has what the original build has, with medium confidence; what the original lacks, the rebuild may have
    added. A commit that a vendor was seen to take out of a stable release is unknown in its other builds of that
    branch, even if the stable release has it.
    """
    found = _matches(catalog, release)
    for item in found.holding:
        yield _from(catalog, item.known.fact, item.inherited_from)
    for known in found.taken_out:
        fact = known.fact
        detail = f"{fact.start} is without {fact.commit}, which its stable release has; whether {release.called} has it is not known"
        yield Evidence(
            EvidenceKind.SERIES,
            fact.commit,
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
