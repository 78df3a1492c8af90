"""All cases, by the names that the catalogue has for them."""

from __future__ import annotations

from collections.abc import Mapping

from tailcall_audit.analyzer.readers.emulation import (
    clear,
    jit,
    owner_check,
    poke,
    prog_array,
    trampoline,
    trampoline_flags,
)
from tailcall_audit.analyzer.readers.emulation.stage import Case

__all__ = ["CASES", "SYMBOLS"]

_MODULES = (owner_check, prog_array, clear, jit, poke, trampoline, trampoline_flags)
CASES: Mapping[str, Case] = {name: case for module in _MODULES for name, case in module.CASES.items()}
SYMBOLS = frozenset().union(*(module.SYMBOLS for module in _MODULES))
"""The functions and data that any case asks for."""
