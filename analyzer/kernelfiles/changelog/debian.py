"""Debian's and Ubuntu's changelogs (deb-changelog(5)), as kernel packages use them.

Debian: ``* New upstream stable update:``, the address of one or several upstream ChangeLogs, and the subjects below.
Ubuntu: ``* Jammy update: v5.15.192 upstream stable release (LP: #…)`` and the subjects below. Lines are folded at 80
columns; a line belongs to the bullet above it when it is indented deeper and has no bullet of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

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

HEADER = re.compile(r"(\S+) \(([^()\s]+)\)(?: [^;]*)?;", re.ASCII)
_TRAILER = re.compile(r" -- .*?>  ?(.*)")
_BULLET = re.compile(r"(\s+)([*+-]) +(.*)")
_UPSTREAM_LOG = re.compile(r"\S*/ChangeLog-(\d+\.\d+(?:\.\d+)?)\s*$", re.ASCII)
_UBUNTU_UPDATE = re.compile(r"\w+ update: (.*?)(?:\(LP:|$)", re.ASCII)
_STABLE = re.compile(r"\bv?(\d+\.\d+\.\d+)\b", re.ASCII)
_DOWNSTREAM = re.compile(r"(?:UBUNTU: |SAUCE: |\[(?:Packaging|Config|Debian)\]|Linux \d+\.\d+)")
_UBUNTU_SERIES = frozenset(
    [
        "trusty",
        "xenial",
        "bionic",
        "cosmic",
        "disco",
        "eoan",
        "focal",
        "groovy",
        "hirsute",
        "impish",
        "jammy",
        "kinetic",
        "lunar",
        "mantic",
        "noble",
        "oracular",
        "plucky",
        "questing",
        "resolute",
    ]
)


@dataclass
class _Building:
    """An entry while its lines are read."""

    package: str
    version: str
    line: int
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
        )


def _unfolded(lines: list[str], start: int) -> Iterator[tuple[int, int, str, str]]:
    """Yields the bullets of a changelog, starting at a line: line number, indent, bullet ("" for any other line at the
    margin), text.
    """
    current: tuple[int, int, str, list[str]] | None = None

    def whole(found: tuple[int, int, str, list[str]]) -> tuple[int, int, str, str]:
        return *found[:3], " ".join(found[3])

    for number in range(start, len(lines)):
        line = lines[number]
        if line[:1] not in (" ", "\t"):
            if current is not None:
                yield whole(current)
            current = None
            if line.strip():
                yield number + 1, 0, "", line
            continue
        match = _BULLET.match(line)
        if match is not None:
            if current is not None:
                yield whole(current)
            current = (number + 1, len(match.group(1)), match.group(2), [match.group(3)])
        elif line.startswith(" -- "):
            if current is not None:
                yield whole(current)
            current = None
            yield number + 1, 1, "", line
        elif not line.strip():
            continue
        elif _UPSTREAM_LOG.match(line.strip()):
            if current is not None:
                yield whole(current)
            current = None
            yield number + 1, 4, "", line.strip()
        elif current is not None:
            current[3].append(line.strip())
    if current is not None:
        yield whole(current)


def _bullet(building: _Building, number: int, indent: int, bullet: str, text: str) -> None:
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


def parse_debian(text: str, path: str) -> Changelog:
    """Parses a changelog of Debian or Ubuntu; never raises, and keeps an entry for every header line."""
    lines = text.split("\n")
    entries: list[Entry] = []
    building: _Building | None = None
    trimmed: str | None = None
    ubuntu = False
    for number, indent, bullet, content in _unfolded(lines, 0):
        if bullet:
            if building is not None:
                _bullet(building, number, indent, bullet, content)
        elif indent == 4:
            log = _UPSTREAM_LOG.match(content)
            version = None if log is None else stable_version(log.group(1))
            if building is not None and version is not None:
                if building.listed:
                    building.close()
                building.open.append((version, number))
        elif indent == 1:
            trailer = _TRAILER.match(content)
            if building is not None and trailer is not None:
                building.date = trailer.group(1).strip() or None
        elif (header := HEADER.match(content)) is not None:
            if building is not None:
                entries.append(building.finished())
            building = _Building(header.group(1), header.group(2), number)
            ubuntu = ubuntu or any(
                name in content.split(")", 1)[-1].replace("-", " ").replace(";", " ").split() for name in _UBUNTU_SERIES
            )
        elif content.startswith("#") and "removed" in content:
            trimmed = f"{path}:{number}: {content.lstrip('# ')}"
    if building is not None:
        entries.append(building.finished())
    return Changelog(path, Family.UBUNTU if ubuntu else Family.DEBIAN, tuple(entries), trimmed)
