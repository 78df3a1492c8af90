"""The order of RPM versions, as rpm has it (rpmio/rpmvercmp.cc; docs/man/rpm-version.7)."""

from __future__ import annotations

import re

__all__ = ["RpmKey", "rpm_key"]

_PART = re.compile(r"\d+|[a-zA-Z]+|[~^]", re.ASCII)
_EARLIER, _END, _LATER, _LETTERS, _NUMBER = range(5)
_Part = tuple[int, int, str]
RpmKey = tuple[tuple[_Part, ...], tuple[_Part, ...]]
"""The parts that decide the order of a version."""


def _parts(text: str) -> tuple[_Part, ...]:
    """Returns the parts of a version: a tilde sorts before the end, a caret directly after it, letters before numbers."""
    found: list[_Part] = []
    for part in _PART.findall(text):
        if part == "~":
            found.append((_EARLIER, 0, ""))
        elif part == "^":
            found.append((_LATER, 0, ""))
        elif part[0].isdigit():
            digits = part.lstrip("0")
            found.append((_NUMBER, len(digits), digits))
        else:
            found.append((_LETTERS, 0, part))
    return (*found, (_END, 0, ""))


def rpm_key(version: str) -> RpmKey:
    """Returns the key of ``VERSION-RELEASE`` (or a version alone) of one package; the epoch is not part of it."""
    name, _, release = version.partition("-")
    return _parts(name), _parts(release)
