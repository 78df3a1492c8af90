"""Reads the addresses of functions from a System.map."""

from __future__ import annotations

import re
from pathlib import Path

from tailcall_audit.analyzer.kernelfiles.containers import ImageError
from tailcall_audit.probes.reading import open_file

__all__ = ["parse_system_map", "read_system_map"]

_SYSTEM_MAP_LINE = re.compile(rb"([0-9a-f]{16}) ([tTwW]) (\S+)")


_MAX_SYSTEM_MAP = 64 << 20


def read_system_map(path: Path) -> dict[str, tuple[int, int]]:
    """Returns the address and size of every function in a System.map; empty if it has none. The size extends to the
    next symbol. Raises ImageError.
    """
    try:
        with open_file(path) as file:
            return parse_system_map(file.read(_MAX_SYSTEM_MAP))
    except OSError as error:
        raise ImageError(f"{path}: cannot read: {error.strerror or error}") from error


def parse_system_map(data: bytes) -> dict[str, tuple[int, int]]:
    """Does the same as `read_system_map` for content that was read already."""
    rows = [match.groups() for match in _SYSTEM_MAP_LINE.finditer(data)]
    ordered = sorted((int(address, 16), name) for address, _, name in rows)
    found: dict[str, tuple[int, int]] = {}
    several: set[str] = set()
    following = None
    for index in range(len(ordered) - 1, -1, -1):
        address, raw = ordered[index]
        if index + 1 < len(ordered) and ordered[index + 1][0] > address:
            following = ordered[index + 1][0]
        name, _, variant = raw.decode("ascii", "replace").partition(".")
        if variant.startswith("cold"):
            continue
        name = f"{name}.part" if variant.startswith("part") else name
        if name in found and found[name][0] != address:
            several.add(name)
        if following is not None:
            found[name] = (address, following - address)
    return {name: where for name, where in found.items() if name not in several}
