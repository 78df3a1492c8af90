"""Finds the places in a log where the running kernel is named.

Only places that name a running kernel count: the first line of a boot, its command line, ``uname -a``, the processor
line of an oops, and what tools print after ``Kernel Version:``. Names of packages and files do not count.
"""

from __future__ import annotations

import re

__all__ = ["kernel_named_in"]

_MOST = 1000
_LONGEST = 4000
_BANNER = "Linux version "
_BOOTED = "BOOT_IMAGE="
_IMAGE = "vmlinuz-"
_RELEASE = re.compile(r"\d++\.\d++(?:\.\d++|-rc\d)[^\s:/,]*+", re.ASCII)
_LABELS = ("kernel version", "kernelversion", "kernel-version", "kernel_version", "kernel release", "kernel_release", "kernelrelease",
           "running kernel")  # fmt: skip
_AFTER = re.compile(r"[\"']?+\s*+[:=]\s*+[\"']?+(?:Linux\s++)?+(\d++\.\d++\.\d++[^\s\"',;]*+)", re.ASCII)


def kernel_named_in(line: str) -> str | None:
    """Returns the part of a line that names the running kernel, at most 1,000 characters; None if there is none."""
    start = line.find(_BANNER)
    if start >= 0 and line[start + len(_BANNER) : start + len(_BANNER) + 1].isdigit():
        return line[start : start + _MOST]
    built = _before_build(line[:_LONGEST])
    if built is not None:
        return line[built : built + _MOST]
    booted = line.find(_BOOTED)
    if booted >= 0:
        word = line[booted : booted + _MOST].split(maxsplit=1)[0]
        release = word.partition(_IMAGE)[2]
        return release if release[:1].isdigit() else None
    if "ernel" not in line and "ERNEL" not in line:
        return None
    return _labelled(line[:_LONGEST])


def _before_build(line: str) -> int | None:
    """Returns the position of a release that is followed by a build number (``6.8.0-31-generic #31-Ubuntu``), None if
    there is none.
    """
    place = line.find(" #")
    while place >= 0:
        start = max(line.rfind(" ", 0, place), line.rfind("\t", 0, place)) + 1
        if line[place + 2 : place + 3].isdigit() and _RELEASE.fullmatch(line, start, place):
            return start
        place = line.find(" #", place + 1)
    return None


def _labelled(line: str) -> str | None:
    lowered = line.lower()
    for label in _LABELS:
        place = lowered.find(label)
        if place >= 0:
            match = _AFTER.match(line, place + len(label))
            return None if match is None else match.group(1)[:_MOST]
    return None
