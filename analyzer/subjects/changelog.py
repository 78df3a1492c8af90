"""A package's changelog as a subject: a file, an address, or standard input."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tailcall_audit.analyzer.errors import UsageError, parameter
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError, decode_changelog, read_changelog
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Family
from tailcall_audit.analyzer.model import TargetKind
from tailcall_audit.analyzer.subjects.open_changelog import OpenChangelog, open_changelog
from tailcall_audit.analyzer.subjects.subject import Parts, Request, Subject, make_subject
from tailcall_audit.analyzer.text import printable
from tailcall_audit.analyzer.web.fetch import is_url

__all__ = ["MAX_CHANGELOG", "open_subjects", "subject_of_changelog"]

_OTHER_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.ASCII | re.IGNORECASE)
MAX_CHANGELOG = 64 << 20
"""The most bytes of a changelog that is fetched."""


def _opened(request: Request, changelog: Changelog, version: str | None) -> OpenChangelog:
    """Returns a changelog as one of the distribution that the request names; raises ChangelogError if it is none."""
    name, _, mark = (request.distro or "").strip().partition(":")
    if not name or changelog.family.is_dpkg:
        return open_changelog(request.catalog, changelog, version)
    opened = open_changelog(request.catalog, changelog, version, mark=mark)
    known = next((item for item in request.catalog.distributions if item.name == opened.release.distro), None)
    if known is None or name.lower() not in (known.name, *known.ids):
        of = f"{opened.release.release} is " + ("of no known distribution" if known is None else f"{known.title}'s")
        raise ChangelogError(
            f"{changelog.path}: {of}, and not {printable(name, 40)}'s; give what its builds have behind their versions too:"
            f" {parameter('distro', f'{printable(name, 40)}:MARK')}, as uname -r has it"
        )
    return opened


def subject_of_changelog(
    request: Request,
    changelog: Changelog,
    version: str | None,
    notes: Sequence[str],
    architecture: tuple[str | None, str],
) -> Subject:
    """Returns the kernel of one version of a changelog (None: its newest); raises ChangelogError if it has no such
    version.
    """
    opened = _opened(request, changelog, version)
    return make_subject(
        request,
        TargetKind.CHANGELOG,
        opened.release.package or opened.release.release,
        release=opened.release,
        architecture=architecture,
        config=request.config,
        parts=Parts(changelog=opened),
        notes=[*opened.notes, *notes],
        changelog=changelog.path,
    )


def open_subjects(request: Request, name: str) -> Iterator[Subject]:
    """Yields the kernel of a changelog (``-`` is standard input); raises ChangelogError, FetchError, or UsageError if a
    distribution is named for one that names its own.
    """
    family = None if request.changelog_format is None else Family(request.changelog_format)
    notes: list[str] = []
    request.progress(f"reading {name}")
    if is_url(name):
        fetched = request.fetcher().get(name, MAX_CHANGELOG)
        notes += [fetched.note] if fetched.note else []
        changelog = decode_changelog(fetched.data, name, family)
    elif _OTHER_ADDRESS.match(name):
        raise ChangelogError(f"{name}: only addresses with http:// or https:// are fetched; fetch it and give the file")
    else:
        changelog = read_changelog(name, family)
    if request.distro and changelog.family.is_dpkg:
        raise UsageError(f"{{distro}}: the versions of {changelog.path} say whose changelog it is: leave it out")
    config = request.config
    named = (None, "") if config is None else (config.architecture, config.path)
    yield subject_of_changelog(request, changelog, request.package_version, notes, named)
