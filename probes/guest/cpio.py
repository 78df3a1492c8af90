"""Writes the archive that a kernel unpacks into its first file system: the "newc" form of the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst, uncompressed.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

__all__ = ["INIT", "Member", "members_of", "write_cpio"]

INIT = "/init"
"""The place of a guest's first process."""

Member = tuple[str, int, bytes, tuple[int, int]]
"""A member of an archive: path without a leading slash, mode with its type, content, device number (major, minor)."""


def write_cpio(members: list[Member]) -> bytes:
    """Returns a "newc" archive of members."""
    out = bytearray()
    for number, (name, mode, content, device) in enumerate([*members, ("TRAILER!!!", 0, b"", (0, 0))], 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, device[0], device[1], len(path), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        out += b"\0" * (-len(out) % 4) + content
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def members_of(contents: Mapping[str, bytes]) -> list[Member]:
    """Returns the members of an archive of these files, by their place in the guest: folders, the devices that a first
    process needs, and the files. The first process is a link to its program.
    """
    members: list[Member] = [
        (name, stat.S_IFDIR | 0o755, b"", (0, 0))
        for name in _folders([*contents, "/dev/x", "/proc/x", "/sys/x", "/tmp/x"])  # noqa: S108
    ]
    members.append(("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)))
    members.append(("dev/null", stat.S_IFCHR | 0o666, b"", (1, 3)))
    members.append(("dev/urandom", stat.S_IFCHR | 0o666, b"", (1, 9)))
    members += [
        (place.lstrip("/"), (stat.S_IFLNK if place == INIT else stat.S_IFREG) | 0o755, content, (0, 0))
        for place, content in sorted(contents.items())
    ]
    return members


def _folders(places: list[str]) -> list[str]:
    """Returns every folder that these files need, parents first."""
    found = {str(parent).strip("/") for place in places for parent in Path(place).parents}
    return sorted(found - {""}, key=lambda name: (name.count("/"), name))
