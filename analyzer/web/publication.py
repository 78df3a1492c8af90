"""Finds the address of a package's changelog. The catalogue has the places where distributions publish changelogs.

An environment variable names a mirror instead (``TAILCALL_AUDIT_DEBIAN_CHANGELOGS``). For distributions whose published
changelogs list no subjects, or whose repositories have them, the catalogue names what to audit instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.distribution import Distribution, Published
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.errors import AuditError, did_you_mean, parameter
from tailcall_audit.analyzer.kernelfiles.release.package_release import source_version
from tailcall_audit.probes.reading import read_file

__all__ = [
    "Publication",
    "PublicationError",
    "address_of_version",
    "example_distribution",
    "find_publication",
    "host_distribution",
    "published_versions",
]

_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~-]*", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*", re.ASCII)
_RELEASE = re.compile(r"[a-z0-9][a-z0-9.-]*", re.ASCII)


class PublicationError(AuditError):
    """A package whose changelog isn't published in a form that this tool reads. The message names an alternative."""


class Publication(NamedTuple):
    """The address of a changelog, and the version to look up in it (None: its newest)."""

    url: str
    version: str | None
    note: str | None


def host_distribution(root: Path = Path("/")) -> str | None:
    """Returns the distribution of this host as ``--distro`` spells it (``debian:bookworm``), from os-release(5)."""
    values: dict[str, str] = {}
    for place in ("etc/os-release", "usr/lib/os-release"):
        try:
            text = read_file(root / place, 1 << 16).decode("utf-8", "replace")
        except OSError:
            continue
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals:
                values[name.strip()] = value.strip().strip("\"'")
        break
    distro, codename = values.get("ID"), values.get("VERSION_CODENAME")
    return distro if not distro or not codename else f"{distro}:{codename}"


def example_distribution(catalog: Catalog) -> str:
    """A distribution that publishes changelogs, and one of its suites, as ``--distro`` takes them."""
    for distribution in catalog.distributions:
        published = distribution.published
        if published is not None and published.by_suite is not None:
            return f"{distribution.name}:{published.by_suite.example}"
    return "NAME:SUITE"


def _base(distribution: Distribution, default: str) -> str:
    variable = f"TAILCALL_AUDIT_{distribution.name.upper().replace('-', '_')}_CHANGELOGS"
    base = os.environ.get(variable) or default
    if not base.startswith(("http://", "https://")):
        raise PublicationError(f"{variable}={base}: not an http or https address")
    return base.rstrip("/")


def _source(published: Published, name: str, version: str) -> str:
    """Returns the source package of a binary one."""
    for expression, source in published.sources:
        match = re.fullmatch(expression, f"{name}={version}", re.ASCII)
        if match is not None:
            return source.format(**match.groupdict())
    return name


def published_versions(distribution: Distribution, name: str, like: str = "") -> tuple[str, re.Pattern[str]]:
    """Returns the address of the folder in which the changelogs of a package's versions are, and the expression that
    finds the group ``version`` in the links of its listing.

    `like` has the mark that a version of the wanted source package has (``~``). The distribution publishes by version.
    """
    published = distribution.published
    assert published is not None
    assert published.base is not None  # the caller's condition
    assert published.by_version is not None
    before, _, after = published.by_version.template.partition("{version}")
    source = _source(published, name, like)
    folder, _, start = before.format(source=source).rpartition("/")
    end = after.partition("/")[0]
    link = re.compile(rf"""href=["'](?:[^"'<>]*/)?{re.escape(start)}(?P<version>[^"'/<>]+?){re.escape(end)}/?["']""")
    return f"{_base(distribution, published.base)}/{folder}/", link


def address_of_version(distribution: Distribution, name: str, version: str) -> str:
    """Returns the address of the changelog of one version of a package, where the distribution publishes by version."""
    assert distribution.published is not None  # the caller's condition
    return _of_version(distribution, distribution.published, name, version).url


def _of_version(distribution: Distribution, published: Published, name: str, version: str) -> Publication:
    assert published.base is not None  # the schema's condition
    assert published.by_version is not None
    plain = source_version(version)
    end = published.by_version.template.format(version=plain, source=_source(published, name, version))
    return Publication(f"{_base(distribution, published.base)}/{end}", plain, None)


def _of_suite(distribution: Distribution, published: Published, name: str, suite: str | None) -> Publication:
    """Returns the newest changelog of a suite; raises PublicationError if the suite or the version has to be given."""
    assert published.base is not None  # the schema's condition
    assert published.by_version is not None
    example = f"give {name}=VERSION (as in {published.by_version.example})"
    if published.by_suite is None:
        raise PublicationError(
            f"{name}: not installed here, and {distribution.title} publishes changelogs by version: {example}"
        )
    if re.search(r"\d\.\d", name):
        raise PublicationError(f"{name}: not installed here, and its name does not contain its version: {example}")
    if suite is None:
        known = f"{distribution.name}:{published.by_suite.example}"
        raise PublicationError(
            f"{name}: not installed here; say which of {distribution.title}'s suites: {parameter('distro', known)}, or {name}=VERSION"
        )
    end = published.by_suite.template.format(suite=suite)
    note = f"the newest kernel of {distribution.title}'s {suite}"
    return Publication(f"{_base(distribution, published.base)}/{end}", None, note)


def _of_repository(package: str) -> str:
    return (
        f"audit the repository with {parameter('repository', 'URL')} (the folder above repodata), or that host's"
        f" `rpm -q --changelog {package}` with {parameter('changelog', 'FILE')}"
    )


def _instead(published: Published) -> str:
    repository = None if published.repository is None else _of_repository(published.repository)
    return ", or ".join(text for text in (published.instead, repository) if text is not None)


def _find(catalog: Catalog, name: str) -> Distribution | None:
    known = (entry for entry in catalog.distributions if entry.published is not None)
    return next((entry for entry in known if name in (entry.name, *entry.ids)), None)


def find_publication(package: str, distribution: str, catalog: Catalog) -> Publication:
    """Returns where the changelog of ``NAME`` or ``NAME=VERSION`` is published; raises PublicationError if none is
    readable.

    `distribution` is a name, or ``name:release``.
    """
    distro, _, release = distribution.strip().lower().partition(":")
    name, _, given = package.partition("=")
    version = re.sub(r"^\d+:", "", given) or None
    if not _NAME.fullmatch(name) or (version is not None and not _VERSION.fullmatch(version)):
        raise PublicationError(f"{package}: not the name of a package, as in linux-image-amd64=6.1.170-3")
    if release and not _RELEASE.fullmatch(release):
        raise PublicationError(
            f"{parameter('distro', distribution)}: not the name of a release, as in {example_distribution(catalog)}"
        )
    found = _find(catalog, distro)
    if found is None or found.published is None:
        known = sorted(entry.name for entry in catalog.distributions if entry.published is not None)
        raise PublicationError(
            f"{distribution}: not a distribution that this tool knows ({', '.join(known)}){did_you_mean(distro, known) or ';'}"
            " or audit the package's changelog"
        )
    if found.published.base is None:
        raise PublicationError(f"{package}: {_instead(found.published)}")
    if version is not None:
        return _of_version(found, found.published, name, version)
    return _of_suite(found, found.published, name, release or None)
