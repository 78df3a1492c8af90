"""Which functions a kernel has, by the names in its own symbol table (kallsyms), in either byte order.

Only names are read: the addresses of a big-endian kernel, or of one whose base is not where others have it, do not
matter here. The symbol table of an ELF file is not used, because a tool may have taken a part of it away. That of
kallsyms cannot lose a name without its count and its markers failing to match (`find_names`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.kallsyms import functions_named
from tailcall_audit.analyzer.kernelfiles.kallsyms_tables import KallsymsError, find_names

__all__ = ["FunctionNames", "function_names"]


class FunctionNames(NamedTuple):
    """The names among those asked for that a function has, and the number of all symbols in the table."""

    present: frozenset[str]
    symbols: int


def function_names(binary: Binary, wanted: Iterable[str]) -> FunctionNames | None:
    """Returns which of these functions a kernel has. Returns None if its table of symbols cannot be read whole.

    A variant that a compiler made (``NAME.isra.0``, ``NAME.cold``) goes by the name.
    """
    names = {name.encode() for name in wanted}
    if binary.kallsyms is not None:
        found = binary.kallsyms.functions_of(names)
        return FunctionNames(frozenset(name.decode() for name in found), len(binary.kallsyms))
    for big in (False, True):
        try:
            table = find_names(binary.data, big)
            found = functions_named(binary.data, table.tokens, table.places, names)
        except (KallsymsError, struct.error, IndexError, ValueError):
            continue
        return FunctionNames(frozenset(name.decode() for name in found), len(table.places))
    return None
