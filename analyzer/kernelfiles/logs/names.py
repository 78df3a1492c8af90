"""Where kernels name themselves in a log, and where tools name the kernel that runs.

Each place is one that only a running kernel's name stands in: a boot's first line, its command line, ``uname -a``, the
processor's line of an oops, and what tools write behind ``Kernel Version:``. Names of packages and files are none.
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
    """Returns the part of a line in which a kernel names itself, at most 1,000 letters, None if none does."""
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
    """Returns where a release stands that a build number follows (``6.8.0-31-generic #31-Ubuntu``); None if none does."""
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
