"""Debian's and Ubuntu's changelogs (deb-changelog(5)), as kernel packages use them.

Debian: ``* New upstream stable update:``, the address of one or several upstream ChangeLogs, and the subjects below.
Ubuntu: ``* Jammy update: v5.15.192 upstream stable release (LP: #…)`` and the subjects below. Lines are folded at 80
columns; a line belongs to the bullet above it when it is indented deeper and has no bullet of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.changelog.grammar import (
    Changelog,
    Entry,
    Family,
    Item,
    StableUpdate,
    drops_patches,
    stable_version,
)
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["HEADER", "parse_debian"]

HEADER = re.compile(r"(\S+) \(([^()\s]+)\)(?: ([^;]*))?;", re.ASCII)
_TRAILER = re.compile(r" -- .*?>  ?(.*)")
_BULLET = re.compile(r"(\s+)([*+-]) +(.*)")
_UPSTREAM_LOG = re.compile(r"\S*/ChangeLog-(\d+\.\d+(?:\.\d+)?)\s*$", re.ASCII)
_UBUNTU_UPDATE = re.compile(r"\w+ update: (.*?)(?:\(LP:|$)", re.ASCII)
_NO_SUITE = "UNRELEASED"
"""What dch(1) writes until an entry is uploaded."""
_STABLE = re.compile(r"\bv?(\d+\.\d+\.\d+)\b", re.ASCII)
_DOWNSTREAM = re.compile(r"(?:UBUNTU: |SAUCE: |\[(?:Packaging|Config|Debian)\]|Linux \d+\.\d+)")


@dataclass
class _Building:
    """An entry while its lines are read."""

    package: str
    version: str
    line: int
    suites: tuple[str, ...] = ()
    date: str | None = None
    items: list[Item] = field(default_factory=list)
    updates: list[StableUpdate] = field(default_factory=list)
    bases: list[UpstreamVersion] = field(default_factory=list)
    # The headings above the current subjects, and the number of these subjects so far.
    open: list[tuple[UpstreamVersion, int]] = field(default_factory=list)
    listed: int = 0
    unnamed: list[int] = field(default_factory=list)
    base_heading: bool = False
    # The indent of a heading that removes patches, while the items below it are read.
    dropping: int | None = None

    def close(self) -> None:
        """Ends the list under the last headings."""
        if self.base_heading:
            self.bases += [version for version, _ in self.open]
        else:
            self.updates += [StableUpdate(version, line, self.listed) for version, line in self.open]
        self.open, self.listed = [], 0

    def finished(self) -> Entry:
        """Returns the entry."""
        self.close()
        return Entry(
            self.package,
            self.version,
            self.line,
            self.date,
            tuple(self.items),
            tuple(self.updates),
            tuple(self.bases),
            tuple(self.unnamed),
            suites=self.suites,
        )


class _Line(NamedTuple):
    """A line of a changelog and those that are folded below it. `bullet` is "" for a line at the margin (indent 0), a
    trailer (1) and the address of an upstream ChangeLog (4).
    """

    number: int
    indent: int
    bullet: str
    text: str


def _begun(number: int, line: str) -> _Line | None:
    """Returns what a line begins, None for one that is blank or belongs to the line above it."""
    if line[:1] not in (" ", "\t"):
        return _Line(number, 0, "", line)
    match = _BULLET.match(line)
    if match is not None:
        return _Line(number, len(match.group(1)), match.group(2), match.group(3))
    if line.startswith(" -- "):
        return _Line(number, 1, "", line)
    return _Line(number, 4, "", line.strip()) if _UPSTREAM_LOG.match(line.strip()) else None


def _unfolded(lines: list[str]) -> Iterator[_Line]:
    """Yields the lines of a changelog, each with those that are folded below it."""
    bullet: _Line | None = None
    parts: list[str] = []
    for number, line in enumerate(lines, 1):
        begun = _begun(number, line)
        if begun is None:
            if line.strip():
                parts.append(line.strip())
            continue
        if bullet is not None:
            yield bullet._replace(text=" ".join(parts))
        bullet = begun if begun.bullet else None
        parts = [begun.text]
        if bullet is None and begun.text.strip():
            yield begun
    if bullet is not None:
        yield bullet._replace(text=" ".join(parts))


def _bullet(building: _Building, line: _Line) -> None:
    number, indent, bullet, text = line
    dropped = building.dropping is not None and indent > building.dropping
    if not dropped:
        building.dropping = indent if drops_patches(text) else None
    if bullet == "*":
        building.close()
        building.base_heading = text.startswith("New upstream release")
        update = _UBUNTU_UPDATE.match(text)
        if update is not None:
            building.open = [
                (version, number) for found in _STABLE.findall(update.group(1)) if (version := stable_version(found))
            ]
            if not building.open and "patchset" in update.group(1):
                building.unnamed.append(number)
            return
        if text.startswith(("New upstream stable update", "New upstream release")):
            return
    elif building.open:
        building.listed += 1
    building.items.append(Item(number, text, is_downstream=_DOWNSTREAM.match(text) is not None, dropped=dropped))


def _upstream_log(building: _Building, line: _Line) -> None:
    log = _UPSTREAM_LOG.match(line.text)
    version = None if log is None else stable_version(log.group(1))
    if version is not None:
        if building.listed:
            building.close()
        building.open.append((version, line.number))


def _trailer(building: _Building, line: _Line) -> None:
    trailer = _TRAILER.match(line.text)
    if trailer is not None:
        building.date = trailer.group(1).strip() or None


def _suites(words: str | None) -> tuple[str, ...]:
    """Returns the suites that a header names, without their pockets: jammy of ``jammy-proposed``."""
    return tuple(word.partition("-")[0] for word in (words or "").split() if word != _NO_SUITE)


def parse_debian(text: str, path: str) -> Changelog:
    """Parses a changelog of Debian's form; never raises, and keeps an entry for every header line.

    Which distribution it is of shows in what the entries name (`of_distribution`): the form is the same for all.
    """
    entries: list[Entry] = []
    building: _Building | None = None
    trimmed: str | None = None
    for line in _unfolded(text.split("\n")):
        if line.indent == 0:
            header = HEADER.match(line.text)
            if header is not None:
                if building is not None:
                    entries.append(building.finished())
                building = _Building(header.group(1), header.group(2), line.number, _suites(header.group(3)))
            elif line.text.startswith("#") and "removed" in line.text:
                trimmed = f"{path}:{line.number}: {line.text.lstrip('# ')}"
        elif building is not None:
            add = _bullet if line.bullet else _upstream_log if line.indent == 4 else _trailer
            add(building, line)
    if building is not None:
        entries.append(building.finished())
    return Changelog(path, Family.DEBIAN, tuple(entries), trimmed)
