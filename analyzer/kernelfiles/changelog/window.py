"""The entries of a changelog that belong to one kernel series, and the reasons why they may not list all backports.

A changelog is complete if it reaches back to the base release and every stable update in between lists its subjects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import count, islice
from typing import NamedTuple

from tailcall_audit.analyzer.architecture import without_rpm_architecture
from tailcall_audit.analyzer.kernelfiles.changelog.detect import ChangelogError
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Changelog, Entry, Family
from tailcall_audit.analyzer.kernelfiles.release.package_release import source_version, upstream_of
from tailcall_audit.analyzer.text import printable
from tailcall_audit.analyzer.version import UpstreamVersion

__all__ = ["Window", "entries_since", "window_of"]

_EPOCH = re.compile(r"^\d+:")
_JUMP = re.compile(
    r"\b(?:updat|rebas|upgrad|bump|switch|mov|sync|auto-?upgrad)\w*\b.{0,80}?\b(?:to|version|onto|at)\W{1,3}"
    r"(?:the |kernel |linux |version |upstream |stable |release ){0,4}v?(\d{1,4})\.(\d{1,4})",
    re.IGNORECASE | re.ASCII,
)
"""The words of openEuler ("update kernel-rt version to 6.6.0-64.0.0.5"), Azure Linux ("Auto-upgrade to 6.6.134.1"),
Photon ("Update to version 4.19.127") and XCP-ng ("Update kernel to 4.19").
"""
_WHOLE_KERNEL = re.compile(r"\b(?:kernel|linux|upstream|bpf)\b", re.IGNORECASE)
_MAX_JUMP = 300
_SHOWN_HOLES = 6


class Window(NamedTuple):
    """The entries since the base release, newest first: what they list are backports to it.

    `stable` is the stable release that the newest of them is of. `gap` says why the entries are not complete, None if
    they are.
    """

    entries: tuple[Entry, ...]
    base: UpstreamVersion
    stable: UpstreamVersion
    gap: str | None


def entries_since(changelog: Changelog, version: str | None) -> tuple[Entry, ...]:
    """Returns the entries up to a version; raises ChangelogError if the file does not have this version. A file without
    versions is about one build, which `version` names.
    """
    if version is None or not changelog.family.has_versions or not any(entry.version for entry in changelog.entries):
        return changelog.entries
    wanted = {version, source_version(version), without_rpm_architecture(_EPOCH.sub("", version))}
    for index, entry in enumerate(changelog.entries):
        if entry.version in wanted or source_version(entry.version) in wanted:
            return changelog.entries[index:]
    near = ", ".join(entry.version for entry in changelog.entries[:3] if entry.version)
    raise ChangelogError(
        f"{changelog.path}: no entry of version {version}; the newest are {near or 'without a version'}"
    )


def _same_series(entry: Entry, base: UpstreamVersion) -> bool:
    version = upstream_of(entry.version)
    return version is None or version.branch == base.branch


def _holes(entries: Sequence[Entry], stable: UpstreamVersion) -> tuple[list[str], int]:
    """Returns the first stable updates whose subjects are not listed, and their number. There may be very many, so they
    are counted, not listed.
    """
    found = {update.version for entry in entries for update in entry.updates if update.listed}
    listed = {
        version.sublevel
        for version in found
        if version.branch == stable.branch and 1 <= version.sublevel <= stable.sublevel and version.rc is None
    }
    missing = islice((number for number in count(1) if number not in listed), _SHOWN_HOLES)
    holes = [str(stable._replace(sublevel=number, rc=None)) for number in missing if number <= stable.sublevel]
    return holes, stable.sublevel - len(listed)


def _jump(path: str, entries: Sequence[Entry], base: UpstreamVersion) -> str | None:
    """Returns the entry in which an RPM's changelog changes to another version without listing the commits."""
    for entry in entries:
        for item in entry.items:
            found = _JUMP.search(item.text[:_MAX_JUMP])
            if found is None:
                continue
            to = (int(found.group(1)), int(found.group(2)))
            named = _WHOLE_KERNEL.search(item.text[:_MAX_JUMP]) is not None
            if to == (base.major, base.minor) or (named and to > (base.major, base.minor) and to[0] <= base.major + 3):
                text = printable(item.text, 80)
                return f'entry {entry.version or entry.date} says "{text}" and does not list what came with that ({path}:{item.line})'
    return None


def _dpkg_gap(changelog: Changelog, entries: Sequence[Entry], window: Window) -> str | None:
    oldest = window.entries[-1] if window.entries else entries[-1]
    if len(window.entries) == len(entries):
        trimmed = f'; "{changelog.trimmed}"' if changelog.trimmed else ""
        return f"it ends with {oldest.version} ({oldest.date or 'no date'}), within the series{trimmed}"
    unnamed = next(((entry, entry.unnamed[0]) for entry in window.entries if entry.unnamed), None)
    if unnamed is not None:
        return (
            f"entry {unnamed[0].version} rolls in a stable patchset that names no release, and such a set may be partial"
            f" ({changelog.path}:{unnamed[1]})"
        )
    holes, number = _holes(window.entries, window.stable)
    more = f" and {number - len(holes)} more" if number > len(holes) else ""
    return f"it lists no subject of {', '.join(holes)}{more}" if holes else None


def _rpm_gap(changelog: Changelog, entries: Sequence[Entry], window: Window) -> str | None:
    base = window.base
    if any(item.text.startswith("Linux v") for entry in window.entries for item in entry.items):
        return "this distribution names stable releases and does not list their subjects"
    if jump := _jump(changelog.path, window.entries, base):
        return jump
    first = re.compile(rf"{base.major}\.{base.minor}(?:\.0)?-1(?:\.|$)")
    if any(first.match(entry.version) for entry in window.entries):
        return None
    oldest = window.entries[-1] if window.entries else entries[-1]
    name = oldest.version or "an entry without a version"
    return f"it ends with {name} of {oldest.date}, before the first build of {base}"


def window_of(changelog: Changelog, entries: Sequence[Entry], version: UpstreamVersion) -> Window:
    """Returns the entries of one series up to the audited one, and why they may be incomplete. `version` is the
    upstream version of the audited one, at least its base.
    """
    base = version.base
    kept = tuple(entry for entry in entries if _same_series(entry, base))
    window = Window(kept, base, version, None)
    if changelog.family.rolls_in_stable:
        rolled = [update.version for entry in kept for update in entry.updates if update.version.branch == base.branch]
        window = window._replace(stable=max(rolled, default=base))
    if changelog.family.is_dpkg:
        return window._replace(gap=_dpkg_gap(changelog, entries, window))
    if changelog.family is Family.RPM:
        return window._replace(gap=_rpm_gap(changelog, entries, window))
    return window._replace(gap="a .changes file does not say where the base release begins")
