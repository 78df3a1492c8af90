"""Upstream kernel versions and their order.

`packaging.version` gives the same order (``6.13rc3`` before ``6.13``), and the tests compare this module with it. It is
not used here because of the kernel's own spelling, and because its import takes 12 ms of a 60 ms budget for
``--kernel``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["UpstreamVersion", "build_key", "parse_version"]

_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,6}))?(?:-?rc(\d{1,4}))?", re.ASCII)


class UpstreamVersion(NamedTuple):
    """A release on kernel.org: mainline ``6.13``, release candidate ``6.13-rc3`` or stable ``6.1.170``.

    Sublevels over 255 are kept (4.19.325); only LINUX_VERSION_CODE limits them to 255.
    """

    major: int
    minor: int
    sublevel: int = 0
    rc: int | None = None

    @property
    def branch(self) -> str:
        """The stable branch: ``6.1`` for 6.1.170."""
        return f"{self.major}.{self.minor}"

    @property
    def base(self) -> UpstreamVersion:
        """The mainline release that this version is based on. A release candidate is its own base."""
        return UpstreamVersion(self.major, self.minor, 0, self.rc)

    @property
    def key(self) -> tuple[int, int, int, int]:
        """The sort key: a release candidate comes before its release."""
        return (self.major, self.minor, self.sublevel, 1 << 16 if self.rc is None else self.rc)

    def __lt__(self, other: tuple[object, ...]) -> bool:
        return self.key < other.key if isinstance(other, UpstreamVersion) else NotImplemented

    def __le__(self, other: tuple[object, ...]) -> bool:
        return self.key <= other.key if isinstance(other, UpstreamVersion) else NotImplemented

    def __gt__(self, other: tuple[object, ...]) -> bool:
        return self.key > other.key if isinstance(other, UpstreamVersion) else NotImplemented

    def __ge__(self, other: tuple[object, ...]) -> bool:
        return self.key >= other.key if isinstance(other, UpstreamVersion) else NotImplemented

    def __str__(self) -> str:
        text = self.branch
        if self.sublevel:
            text += f".{self.sublevel}"
        return text if self.rc is None else f"{text}-rc{self.rc}"


def parse_version(text: str) -> UpstreamVersion:
    """Parses ``6.1``, ``v6.1.170`` or ``6.13-rc3``. Raises ValueError for anything else."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise ValueError(f"not an upstream kernel version: {text!r}")
    major, minor, sublevel, rc = match.groups()
    return UpstreamVersion(int(major), int(minor), int(sublevel or 0), None if rc is None else int(rc))


_CANDIDATE = -1
"""The sublevel of a release candidate, below that of the release itself (0) and of its stable updates."""
_TRIAL = re.compile(r"(\d{1,9})~(?=exp)", re.ASCII)


def build_key(text: str) -> tuple[int, ...]:
    """Returns the numbers of a distribution's build, to order builds of one series: ``5.14.0-427.13.1.el9_4`` before
    ``-427.20``.

    Everything from the distribution's tag on (``.el9``, ``.amzn2``) is left out, because it identifies the rebuild and
    not the sources. EulerOS's ``.h2572`` is part of the number. A release candidate (``5.19~rc6-1``) and an
    upload to try things out (``5.19-1~exp1``) come before the release, which is ``5.19.0``; a rebuild for another
    release (``~bpo12+1``) has what the upload itself has.
    """
    kept = re.split(r"\.(?=[a-z])(?!h\d)", text)[0]
    kept = re.sub(r"^(\d+\.\d+)(?=[-+]|$)", r"\1.0", kept, flags=re.ASCII)
    # What comes before 1 is after all of 0: 0.999999999.
    kept = _TRIAL.sub(lambda match: f"{max(0, int(match[1]) - 1)}.{'9' * 9}.", kept)
    found = re.findall(r"\d+|~(?=rc)", kept, re.ASCII)
    return tuple(_CANDIDATE if number == "~" else int(number[:9]) for number in found)
