"""What a guest booted from a mutant shows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_path

from tailcall_audit.probes.guest.archive import build_initramfs
from tailcall_audit.probes.guest.boot import Guest, GuestRun, run_in_guest

__all__ = ["PATIENCE", "boot_elf"]

PATIENCE = 120.0
"""Seconds without a word from a guest after which it counts as hung; a healthy one has its first word after 3 to 60,
with the load of the machine."""


def boot_elf(elf: bytes, name: str, slugs: Sequence[str], patience: float = PATIENCE) -> GuestRun:
    """Boots a kernel's ELF file and runs the probes of some defects; raises GuestError if no guest can be started at
    all.
    """
    initramfs = build_initramfs(user_cache_path("tailcall-audit", appauthor=False) / "guest")
    # A file without a name: whatever ends this process, nothing is left behind.
    descriptor = os.memfd_create(name[:200])
    with os.fdopen(descriptor, "wb") as file:
        file.write(elf)
        file.flush()
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        return run_in_guest(path, initramfs, Guest(patience=patience), slugs, name=name)
