"""The content of a survey: claims about commits in releases, and the newest releases that were read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.errors import AuditError

__all__ = [
    "MAINLINE",
    "MAX_WORD",
    "NAME",
    "NAME_RULE",
    "Claim",
    "Conflict",
    "Kind",
    "Series",
    "State",
    "Survey",
    "SurveyError",
    "shortened",
]

MAX_WORD = 500
"""The most characters of a text in a survey."""
NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,80}", re.ASCII)
"""The form of a survey's name, which is also the name of its file."""
NAME_RULE = "small letters, digits and .+- only, and a letter or digit first"
"""The form of a survey's name in words."""
MAINLINE = "mainline"
"""The name of the branch in claims about mainline's releases and release candidates."""


def shortened(text: str) -> str:
    """Returns a text that a survey can keep: cut off where it is too long."""
    return text if len(text) <= MAX_WORD else f"{text[: MAX_WORD - 1]}…"


class SurveyError(AuditError):
    """Raised if a source cannot be surveyed, or a survey cannot be read; the message says where and why."""


class Kind(Enum):
    """What a survey was read from, the strongest first. A weaker one never overrules a stronger one."""

    STABLE = "stable"
    """The history of the stable branches, and the code at their tips."""
    PACKAGES = "packages"
    """The changelogs of a distribution's kernels."""
    VULNS = "vulns"
    """The records of the kernel's CVE numbering authority. They show where a fix is, but prove no absence."""


class Series(NamedTuple):
    """A distribution's builds of one base release. `tag` is the tag in their release strings (el9), or empty."""

    distro: str
    base: str
    tag: str

    def __str__(self) -> str:
        return "/".join(part for part in self if part)

    @classmethod
    def from_text(cls, text: str) -> Series:
        """Parses ``rhel/5.14/el9`` or ``debian/6.1``; raises ValueError."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"not a series: {text!r}")
        return cls(parts[0], parts[1], parts[2] if len(parts) == 3 else "")


class State(Enum):
    """What a claim says about its commit in its release."""

    PRESENT_FROM = "present-from"
    """The commit is present from this release on."""
    PRESENT_BY = "present-by"
    """The commit is present from this release on, and it came after the one before it that was read: releases between
    the two were not read.
    """
    REVERTED_IN = "reverted-in"
    """This release reverts the commit."""
    ABSENT_THROUGH = "absent-through"
    """No release up to and including this one has the commit."""


class Claim(NamedTuple):
    """A commit's state in a release of a branch, or in a version of a distribution's series: either `branch` or
    `series` is set.

    `commit` has 12 digits. `id` is the commit on that branch, if known. `source` says where the claim can be verified.
    `rebuilder` wrote the changelog, if it is not the distribution's own.
    """

    commit: str
    state: State
    release: str
    source: str
    branch: str | None = None
    series: str | None = None
    id: str | None = None
    rebuilder: str | None = None

    @property
    def where(self) -> str:
        """The branch or the series that the claim is about."""
        return self.branch or self.series or ""


class Conflict(NamedTuple):
    """Two sources that contradict each other. A conflict is printed and never merged. `words` has both statements."""

    commit: str
    where: str
    words: str


class Survey(NamedTuple):
    """What was read from one source. `date` is an ISO date. `reach` is the newest release of each branch or series that
    was read.

    `notes` say what could not be read, and why. `excerpt` is True if entries of the changelog are missing: they may
    revert commits.
    """

    kind: Kind
    name: str
    source: str
    date: str
    reach: Mapping[str, str]
    claims: tuple[Claim, ...]
    conflicts: tuple[Conflict, ...] = ()
    notes: tuple[str, ...] = ()
    excerpt: bool = False
