"""Finds the UEFI firmware of an architecture by the descriptors that distributions install with it.

QEMU docs/interop/firmware.json describes the descriptors and the folders that they are in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from tailcall_audit.probes.reading import read_file

__all__ = ["FOLDERS", "find_firmware"]

FOLDERS = ("/etc/qemu/firmware", "/usr/share/qemu/firmware")
"""The folders of descriptors, in the order of their priority. A user's own folder is left out, because QEMU may run as
`nobody`.
"""
_MAX_SIZE = 1 << 16


def find_firmware(target: str, folders: Sequence[str] = FOLDERS) -> str | None:
    """Returns the path of the firmware for a target of QEMU (``loongarch64``), or None if none is installed.

    The descriptor with the first name wins. It replaces one of the same name in a folder of lower priority; if it is
    empty, there is none of that name.
    """
    descriptors: dict[str, str] = {}
    for folder in reversed(folders):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        descriptors |= {name: os.path.join(folder, name) for name in names if name.endswith(".json")}
    for _, path in sorted(descriptors.items()):
        found = _executable(path, target)
        if found is not None and os.path.isfile(found):
            return found
    return None


def _executable(path: str, target: str) -> str | None:
    """Returns the file that a descriptor names for a target; None if it is for others or cannot be read."""
    try:
        content = json.loads(read_file(path, _MAX_SIZE))
        targets = {item["architecture"] for item in content["targets"]}
        name = content["mapping"]["executable"]["filename"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return name if target in targets and isinstance(name, str) else None
