"""Addresses at which a server had nothing, kept for a day: the same question is not asked again by every audit."""

from __future__ import annotations

import hashlib
import os
import time

from tailcall_audit.probes.private_folder import PrivateFolder

__all__ = ["Missing"]


class Missing:
    """The addresses in a folder of the cache: a file each, whose content is the address. None is known for longer than
    `seconds`.
    """

    def __init__(self, folder: str | os.PathLike[str], seconds: float) -> None:
        self._folder = PrivateFolder(folder)
        self._seconds = seconds

    def has(self, url: str) -> bool:
        """Returns True if a server had nothing at an address a short while ago."""
        name = _name(url)
        try:
            fresh = 0 <= self._folder.age(name, time.time()) < self._seconds
            return fresh and self._folder.read(name, len(os.fsencode(url))) == os.fsencode(url)
        except OSError:
            return False

    def add(self, url: str) -> None:
        """Keeps an address. A folder that cannot be written costs another question, and nothing else."""
        try:
            self._folder.write(_name(url), os.fsencode(url))
        except OSError:
            return


def _name(url: str) -> str:
    return f"missing-{hashlib.sha256(os.fsencode(url)).hexdigest()}"
