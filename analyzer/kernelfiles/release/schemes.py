"""Matches release and build strings against the distributions of the catalogue (`catalog/distributions/NAME.yaml`).

The order of the distributions matters: the first match wins. An expression is compiled when it is first tried, and is
tried only if one of the form's fixed parts occurs, so most are never compiled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.catalog.distribution import Distribution, Form
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = [
    "Matched",
    "Statement",
    "build_statements",
    "find_signature",
    "find_upload",
    "known_architecture",
    "match_distribution",
    "settle_command",
]

_LONGTERM_26 = 2
"""In 2.6.32 the third number is part of the mainline release's name."""


class Matched(NamedTuple):
    """A string in a form of a distribution, with its named parts."""

    distribution: Distribution
    form: Form
    parts: dict[str, str | None]

    @property
    def note(self) -> str:
        """What such a string proves, in words."""
        note = self.form.note
        for name in ("version", "stable"):
            note = note.replace(f"{{{name}}}", self.parts.get(name) or "")
        return note


class Statement(NamedTuple):
    """A second statement beside a release, and its place in the text (offsets)."""

    matched: Matched
    start: int
    end: int


@cache
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.ASCII | re.IGNORECASE)


def match_distribution(distributions: Sequence[Distribution], rest: str, version: UpstreamVersion) -> Matched | None:
    """Returns the first distribution with a form that matches the whole `rest` of a release string after its version."""
    lowered = rest.lower()
    is_zero = version.sublevel == 0 or version.major == _LONGTERM_26
    for distribution in distributions:
        for form in distribution.forms:
            if form.zero_sublevel is not None and form.zero_sublevel != is_zero:
                continue
            if not any(part in lowered for part in form.contains):
                continue
            match = _compiled(form.match).fullmatch(rest)
            if match is not None:
                return Matched(distribution, form, match.groupdict())
    return None


def _statements(distribution: Distribution, forms: Sequence[Form], text: str, lowered: str) -> Iterator[Statement]:
    for form in forms:
        if any(part in lowered for part in form.contains):
            for match in re.finditer(form.match, text, re.ASCII):
                yield Statement(Matched(distribution, form, match.groupdict()), *match.span())


def build_statements(distributions: Sequence[Distribution], text: str) -> Iterator[Statement]:
    """Yields the statements in a build string (``uname -v``) that have a distribution's form, the first match first."""
    lowered = text.lower()
    for distribution in distributions:
        yield from _statements(distribution, distribution.builds, text, lowered)


def find_signature(distributions: Sequence[Distribution], text: str) -> Statement | None:
    """Returns the first signature of a distribution (``/proc/version_signature``) in a text, None if there is none."""
    lowered = text.lower()
    found = (item for entry in distributions for item in _statements(entry, entry.signatures, text, lowered))
    return next(found, None)


def find_upload(distribution: Distribution, text: str) -> str | None:
    """Returns the part of a package's version that a build string adds to the release; None if it adds none."""
    match = None if distribution.uploads is None else re.search(distribution.uploads, text, re.ASCII)
    return None if match is None else match.group("upload")


def known_architecture(text: str | None) -> str | None:
    """Returns this tool's name for an architecture that a release string spells, if it is one."""
    if not text:
        return None
    try:
        return normalize_architecture(text.split("_64k")[0])
    except UnknownArchitectureError:
        return None


def settle_command(
    distribution: Distribution, release: str, flavour: str | None = None, version: str | None = None
) -> str | None:
    """Returns the command that settles an unknown verdict: it names the package of the flavour, and its version if
    known.
    """
    if distribution.settle is None:
        return None
    values = {
        "release": release,
        "build": re.sub(rf"[+-]{re.escape(flavour)}$", "", release) if flavour else release,
        "flavour": flavour or "",
        "version": version or "VERSION",
    }
    package = distribution.flavour_packages.get(flavour or "", distribution.package)
    return distribution.settle.format(package=(package or "").format(**values), **values)
