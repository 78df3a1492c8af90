"""What the functions of an image show when they are run."""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.model import Presence
from tailcall_audit.analyzer.readers.emulation.read import emulate, evidence_of, wanted_cases


def presence_by_running(elf: bytes, commit: str, catalog: Catalog) -> Presence:
    """Returns what running the functions of an x86-64 vmlinux shows of one commit."""
    only = frozenset((commit,))
    found = emulate(Binary(unpack(elf, "vmlinux")), "x86_64", wanted_cases(catalog, "x86_64", only))
    (item,) = evidence_of(catalog, found, "x86_64", "vmlinux", only)
    return item.presence
