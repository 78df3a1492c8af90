"""Determines which member of a struct_ops each program implements, from the initialiser of the struct."""

from __future__ import annotations

from bisect import bisect_right

from tailcall_audit.analyzer.programs.code import ProgramsError
from tailcall_audit.analyzer.programs.elf_object import ElfObject
from tailcall_audit.analyzer.programs.maps import variables
from tailcall_audit.probes.kernel import btf_format as kinds
from tailcall_audit.probes.kernel.btf import Btf, BtfError

__all__ = ["read_struct_ops"]

_PREFIX = ".struct_ops"
"""Sections with struct_ops that are attached by hand or, for .struct_ops.link, by a link."""


def read_struct_ops(elf: ElfObject, btf: Btf | None, notes: list[str]) -> dict[tuple[int, int], str]:
    """Returns the member (``tcp_congestion_ops.init``) that each function implements, by the function's section and
    offset.
    """
    found: dict[tuple[int, int], str] = {}
    for section in elf.sections:
        if not section.name.startswith(_PREFIX) or btf is None:
            continue
        try:
            rows = sorted((row.offset, btf.resolve(row.type)) for row in variables(btf, section.name))
            starts = [offset for offset, _ in rows]
            for relocation in elf.relocations(section):
                index = bisect_right(starts, relocation.offset) - 1
                if index < 0 or relocation.symbol >= len(elf.symbols):
                    continue
                offset, struct = rows[index]
                symbol = elf.symbols[relocation.symbol]
                name = _member(btf, struct, relocation.offset - offset)
                if symbol.is_function and name is not None:
                    found[symbol.section, symbol.value] = name
        except (BtfError, ProgramsError) as error:
            notes.append(f"the structs in {section.name} cannot be read: {error}")
    return found


def _member(btf: Btf, struct: int, offset: int) -> str | None:
    """Returns the names of the struct and of its member at an offset in bytes."""
    if not struct or btf.type(struct).kind != kinds.STRUCT:
        return None
    name = btf.type(struct).name.partition("___")[0]
    member = next((item.name for item in btf.members(struct) if item.offset == 8 * offset), None)
    return None if member is None else f"{name}.{member}"
