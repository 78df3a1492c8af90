"""The offsets of members of the kernel's structures, by its own BTF."""

from __future__ import annotations

from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["place_of"]


def place_of(btf: Btf, struct: str, member: str) -> int | None:
    """Returns a member's offset in bytes; None if there is no such member, or it is a bit field."""
    found = btf.member(struct, member)
    return None if found is None or found.offset % 8 else found.offset // 8
