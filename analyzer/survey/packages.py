"""Surveys a distribution's changelogs: finds which builds of each series have each commit of the catalogue.

Each version with a changelog entry is read with the same code as an audit of that version, so both always agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.distribution import ChangelogForm, Distribution, Line
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError
from tailcall_audit.analyzer.kernelfiles.release.package_release import upstream_of
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease
from tailcall_audit.analyzer.model import Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.readers.changelog import listed_evidence, mentioning_versions
from tailcall_audit.analyzer.readers.changelog_silence import silent_evidence
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog, open_changelog
from tailcall_audit.analyzer.survey.claims import Build, claims_of, only_fixes
from tailcall_audit.analyzer.survey.types import NAME, Kind, Series, Survey, SurveyError
from tailcall_audit.analyzer.version import build_key

__all__ = ["survey_changelogs"]

_TAG = re.compile(r"[.-](?!h\d)([a-z]+\d+[a-z0-9]*)", re.ASCII)
"""The tag after the numbers of an RPM build: el9 in 5.14.0-427.el9_4, oe2203sp4 in 5.10.0-242.0.0.141.oe2203sp4. EulerOS's
h1083 is a number.
"""


_WHOLE = re.compile(r"\d+\.\d+\.\d+-", re.ASCII)


class _Found(NamedTuple):
    """A line of builds, and the groups of its expression in the name of a source package."""

    line: Line
    groups: Mapping[str, str | None]


def _evidence(opened: OpenChangelog) -> Iterator[Evidence]:
    yield from listed_evidence(opened)
    yield from silent_evidence(opened)


def _build(opened: OpenChangelog, version: str) -> Build:
    found = [item for item in _evidence(opened) if item.presence is not Presence.UNKNOWN]
    unknown = {item.commit for item in _evidence(opened) if item.presence is Presence.UNKNOWN}
    kept = [item for item in found if item.commit not in unknown]
    return Build(
        version,
        {item.commit: item.presence is Presence.PRESENT for item in kept},
        {item.commit: item.detail for item in kept},
        frozenset(
            item.commit for item in kept if item.presence is Presence.ABSENT and item.kind is EvidenceKind.CHANGELOG
        ),
    )


def _marked(release: KernelRelease) -> str:
    """Returns the tag in a release; empty if there is none."""
    tag = _TAG.search(release.package or release.release)
    return "" if tag is None else tag.group(1)


def _line_of(opened: OpenChangelog, distribution: Distribution, form: ChangelogForm) -> _Found | None:
    """Returns the line of builds that a changelog's package is of, if its numbers are counted.

    The package is named by dpkg's entries, by the package that the changelog came in, or by its .spec; else by the
    flavour in the release.
    """
    flavour = opened.release.flavour or ""
    package = distribution.flavour_packages.get(flavour, "").partition("-{")[0]
    name = opened.name or opened.changelog.name or package
    source = opened.changelog.entries[0].package if opened.changelog.family.is_dpkg else name
    for line in form.lines:
        match = re.fullmatch(line.source, source, re.ASCII)
        if match is not None or (not source and line.tag is not None and line.tag == flavour):
            return _Found(line, {} if match is None else match.groupdict())
    return None


def _series_of(opened: OpenChangelog, distribution: Distribution) -> Series | None:
    """Returns the series that a changelog belongs to; None if facts cannot describe it."""
    release, form = opened.release, distribution.changelog
    if form is None or not form.lines:
        tag = _marked(release) if distribution.series_in_release else ""
        return Series(distribution.name, release.version.branch, tag)
    found = _line_of(opened, distribution, form)
    if found is None:
        return None
    tag = (
        found.line.tag
        or found.groups.get("tag")
        or "-".join((_marked(release), *filter(None, (found.groups.get("flavour"),))))
    )
    return Series(distribution.name, release.version.branch, tag)


def _opened_at(catalog: Catalog, opened: OpenChangelog, version: str) -> OpenChangelog:
    """Returns the changelog of a package at another version; raises ChangelogError."""
    found = open_changelog(catalog, opened.changelog, version, mark=opened.mark)
    return replace(found, name=opened.name)


def _each_series(catalog: Catalog, opened: OpenChangelog) -> Iterator[OpenChangelog]:
    """Yields a changelog opened at the newest version of each of its series, the newest series first."""
    yield opened
    seen = {opened.window.base.branch}
    for entry in opened.changelog.entries:
        version = upstream_of(entry.version)
        if version is None or version.branch in seen:
            continue
        seen.add(version.branch)
        with suppress(ChangelogError):
            yield _opened_at(catalog, opened, entry.version)


def _worth_reading(newest: OpenChangelog) -> list[str]:
    """Returns the versions at which a state may change and the version before each of them, oldest first. Nothing
    changes between two of these.
    """
    versions = list(dict.fromkeys(entry.version for entry in reversed(newest.window.entries) if entry.version))
    mentioning = set(mentioning_versions(newest))
    return [
        version
        for place, version in enumerate(versions)
        if version in mentioning or place + 1 == len(versions) or versions[place + 1] in mentioning
    ]


def _builds(catalog: Catalog, newest: OpenChangelog, progress: Callable[[str], None]) -> Iterator[tuple[Series, Build]]:
    """Yields the builds of the newest version's series that can change a state, oldest first. The newest one is the
    package that the changelog is of, whose version no entry need name.
    """
    versions = _worth_reading(newest)
    for count, version in enumerate(versions, 1):
        progress(f"{newest.changelog.path}: {version} ({count} of {len(versions)})")
        with suppress(ChangelogError):
            opened = _opened_at(catalog, newest, version)
            yield from _described(catalog, opened, opened.release.package or version)
    last = (newest.release.package or newest.release.release).removesuffix(f".{newest.mark}")
    if last not in versions:
        yield from _described(catalog, newest, last)


def _described(catalog: Catalog, opened: OpenChangelog, named: str) -> Iterator[tuple[Series, Build]]:
    """Yields a build with its series, if a survey can describe it."""
    distribution = next((item for item in catalog.distributions if item.name == opened.release.distro), None)
    series = None if distribution is None else _series_of(opened, distribution)
    # RHEL's first builds (5.14-1.2.1.el9) lack the kernel's sublevel, and look like those of a z-stream.
    if distribution is not None and series is not None and (not distribution.z_streams or _WHOLE.match(named)):
        form = distribution.changelog
        # A name with its flavour is that of uname -r, which does not count how often the sources were built.
        build = named.removesuffix(f"-{opened.release.flavour}")
        yield series, _build(opened, form.build_of(build) if form is not None and build == named else build)


_MINOR = re.compile(r"\.([a-z]+\d+)_(\d+)", re.ASCII)
"""The tag of a z-stream's build: el9_4 in 5.14.0-427.13.1.el9_4."""


class _Owner(NamedTuple):
    """A series, and who built its kernels anew and wrote the changelog; None if the distribution did."""

    series: Series
    rebuilder: str | None


def _owner(catalog: Catalog, opened: OpenChangelog, series: Series, place: str) -> _Owner:
    if opened.rebuilder is not None or not place:
        return _Owner(series, opened.rebuilder)
    distribution = next(item for item in catalog.distributions if item.name == series.distro)
    return _Owner(series, distribution.rebuilder(place))


def _named_after(reach: Mapping[str, str], rebuilder: str | None) -> str:
    """Returns a survey's name from its newest builds: debian-6.1, rhel-5.14-el9.4, rhel-5.14-el9.4-almalinux; packages
    if they are of several distributions.
    """
    series = [Series.from_text(text) for text in reach]
    first = series[0]
    minor = _MINOR.search(reach[str(first)])
    name = "-".join(first) if minor is None else f"{first.distro}-{first.base}-{minor[1]}.{minor[2]}"
    name = name.strip("-") + ("" if rebuilder is None else re.sub(r"[^a-z0-9]+", "-", f"-{rebuilder.lower()}"))
    is_one = all(item.distro == first.distro for item in series)
    return name if is_one and NAME.fullmatch(name) is not None else "packages"


def _why_none(catalog: Catalog, opened: OpenChangelog) -> str:
    """Returns why a changelog has no build that a survey can describe."""
    distribution = next((item for item in catalog.distributions if item.name == opened.release.distro), None)
    if distribution is None:
        return (
            f"{opened.changelog.path}: {opened.release.package or opened.release.release} is of no distribution that the"
            " catalogue knows; if its versions lack the mark that uname -r has, give both:"
            f" {parameter('distro', 'NAME:MARK')}"
        )
    if _series_of(opened, distribution) is None and (opened.name or opened.changelog.name):
        return (
            f"{opened.changelog.path}: the builds of {opened.name or opened.changelog.name} are not counted here: their"
            f" numbers are not those of {distribution.title}'s other packages"
        )
    if _series_of(opened, distribution) is None:
        return (
            f"{opened.changelog.path}: which of {distribution.title}'s packages it is of is not known; name the build as"
            f" uname -r does, with its flavour ({parameter('package_version', 'VERSION-FLAVOUR')}), or survey the package"
            f" itself ({parameter('packages')}, {parameter('repository')})"
        )
    return f"{opened.changelog.path}: no entry has a whole version of {distribution.title}'s"


def survey_changelogs(
    catalog: Catalog,
    changelogs: Iterable[OpenChangelog],
    source: str,
    date: str,
    progress: Callable[[str], None] = lambda _: None,
    *,
    excerpt: bool = False,
    are_several: bool = False,
    place: str = "",
) -> Survey:
    """Surveys changelogs, each opened at its newest version. `source` is the name of their source; of several sources
    each claim cites its own changelog only. The survey is named after its newest builds.

    What a rebuilder wrote is about that one's builds: so say the authors of the newest entries, or `place`, the
    repository that the changelogs are in.

    If an excerpt lists a commit that is a fix and nothing else, the commit counts as absent in the builds before the
    one that lists it, because it would not be listed there otherwise. The silence of an excerpt claims nothing.

    Raises SurveyError if none is of a distribution that the catalogue knows.
    """
    found: dict[_Owner, dict[str, Build]] = {}
    notes: list[str] = []
    without: dict[str, str] = {}
    for opened in (series for given in changelogs for series in _each_series(catalog, given)):
        builds = list(_builds(catalog, opened, progress))
        if not builds:
            without.setdefault(opened.changelog.path, _why_none(catalog, opened))
        if opened.window.gap is not None:
            notes.append(
                f"{opened.changelog.path} is not complete, so nothing is claimed to be absent: {opened.window.gap}"
            )
        for series, build in builds:
            found.setdefault(_owner(catalog, opened, series, place), {})[build.version] = build
    if not found:
        raise SurveyError("; ".join(without.values()) or f"{source}: no changelog to survey")
    distributions = {entry.name: entry for entry in catalog.distributions}
    dated = only_fixes(catalog) if excerpt else frozenset[str]()
    prefix = "" if are_several else f"{source}: "
    claims = [
        claim._replace(rebuilder=rebuilder)
        for (series, rebuilder), builds_of in found.items()
        for claim in claims_of(series, list(builds_of.values()), distributions[series.distro], prefix, dated)
    ]
    reach: dict[str, str] = {}
    for (series, _), builds_of in found.items():
        reach[str(series)] = max((*builds_of, reach.get(str(series), "")), key=build_key)
    name = _named_after(reach, next(iter(found)).rebuilder)
    found_notes = (*notes, *without.values())
    return Survey(Kind.PACKAGES, name, source, date, reach, tuple(claims), notes=found_notes, excerpt=excerpt)
