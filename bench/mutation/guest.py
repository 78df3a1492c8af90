"""Boots a guest from a mutant and runs the probes in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_path

from tailcall_audit.probes.guest.archive import build_initramfs
from tailcall_audit.probes.guest.boot import Guest, GuestRun, run_in_guest

__all__ = ["PATIENCE", "boot_elf"]

PATIENCE = 120.0
"""Seconds without output after which a guest counts as hung. A healthy guest has its first output after 3 to 60
seconds, depending on the load of the machine.
"""


def boot_elf(elf: bytes, name: str, slugs: Sequence[str], patience: float = PATIENCE) -> GuestRun:
    """Boots a kernel's ELF file and runs the probes of some defects. Raises GuestError if no guest can be started."""
    initramfs = build_initramfs(user_cache_path("tailcall-audit", appauthor=False) / "guest")
    # A file without a name is not left behind, however this process ends.
    descriptor = os.memfd_create(name[:200])
    with os.fdopen(descriptor, "wb") as file:
        file.write(elf)
        file.flush()
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        return run_in_guest(path, initramfs, Guest(patience=patience), slugs, name=name)
