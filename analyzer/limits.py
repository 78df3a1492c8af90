"""The limits of the process that reads a source: by the kind of the source, and by its size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["LIMITS", "Limits", "limits_of"]


class Limits(NamedTuple):
    """The limits of a worker: processor time and elapsed time in seconds, and memory in MiB in addition to what it has
    at the start.

    `most` is the memory limit in MiB up to which a child process of the worker may raise its own (None: the same as
    `memory`). `who` describes the inputs with these limits, for messages.
    """

    processor: int
    clock: int
    memory: int
    most: int | None = None
    who: str = ""


LIMITS: Mapping[str, Limits] = {
    "config": Limits(20, 120, 512),
    "changelog": Limits(60, 900, 1024),
    "image": Limits(120, 900, 4096),
    "package": Limits(180, 1800, 4096),
    "repository": Limits(900, 7200, 1536),
    "tree": Limits(3600, 14400, 2048),
    "installed": Limits(900, 7200, 4096),
    "host": Limits(180, 1800, 4096),
    "nodes": Limits(300, 3600, 512),
    "text": Limits(600, 3600, 1024),
    "rootfs": Limits(900, 3600, 4096),
    "oci": Limits(900, 3600, 4096),
    "disk": Limits(900, 3600, 4096),
    "programs": Limits(120, 600, 2048),
}
"""The limits by opener, for inputs of any size. A release string has none, because a worker would take half of the time
of the whole audit.
"""
_SMALL, _MEDIUM = 1 << 20, 100 << 20
_BY_SIZE = (
    (_SMALL, Limits(5, 120, 512, who=", the limit of an input under 1 MB")),
    (_MEDIUM, Limits(60, 600, 1024, who=", the limit of an input under 100 MB")),
)
_METAPACKAGE = 64 << 10
"""Bytes. A smaller package may be a metapackage, for which the kernel package that it depends on is read."""
_OF_THE_HOST = frozenset(("host", "installed"))
_PACKS = (".git/objects/pack", "objects/pack")
"""The folders that hold most of a clone's data."""
_POINTERS = (".git", ".git/objects/info/alternates", "objects/info/alternates")
_MARKS = (".git", "Makefile")


def limits_of(opener: str, name: str) -> Limits:
    """Returns the limits of a source by its opener and size. A small input that takes long is treated as hostile.

    A source that is not a local file or folder (standard input, an address, an installed package) has the limits for
    any size. Child processes of a worker may also use the memory limit for any size, because the emulator of an image's
    functions has limits of its own.
    """
    widest = LIMITS[opener]
    place = os.path.expanduser(name)
    if opener == "tree":
        place = _top(place)
    size = None if opener in _OF_THE_HOST else _size(place)
    if size is None:
        return widest
    if opener == "package" and size < _METAPACKAGE:
        size = _SMALL
    for below, limits in _BY_SIZE:
        if size < below:
            return limits._replace(
                processor=min(limits.processor, widest.processor),
                clock=min(limits.clock, widest.clock),
                memory=min(limits.memory, widest.memory),
                most=widest.memory,
            )
    return widest


def _top(name: str) -> str:
    """Returns the highest folder at or above a path that may be the top of a tree, so that a part of a tree is limited
    like the whole.
    """
    try:
        place = os.path.realpath(name)
    except (OSError, ValueError):
        return name
    top = place
    while (above := os.path.dirname(place)) != place:
        place = above
        if any(os.path.lexists(os.path.join(place, mark)) for mark in _MARKS):
            top = place
    return top


def _size(name: str) -> int | None:
    """Returns the size of a file, or of the files in a folder, in bytes. Stops counting at the largest threshold. None
    if the path does not exist or the size is unknown.
    """
    try:
        if not os.path.isdir(name):
            return os.stat(name).st_size
        if any(os.path.isfile(os.path.join(name, pointer)) for pointer in _POINTERS):
            return None  # the git history is in another folder
        total = 0
        for folder in (*(os.path.join(name, place) for place in _PACKS), name):
            for parent, _, files in os.walk(folder):
                for file in files:
                    total += os.lstat(os.path.join(parent, file)).st_size
                    if total >= _MEDIUM:
                        return total
    except (OSError, ValueError):
        return None
    return total
