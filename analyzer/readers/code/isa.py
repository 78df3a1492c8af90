"""The architectures whose machine code is read. Each is a module or package beside this one, with the architecture's
name and an `ISA`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import NamedTuple

from tailcall_audit.analyzer.architecture import ARCHITECTURES
from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.insn import Insn
from tailcall_audit.analyzer.readers import code
from tailcall_audit.analyzer.readers.code.claims import Shown
from tailcall_audit.probes.kernel.btf import Btf

__all__ = ["CodeIsa", "CodeMatcher", "isas"]


class CodeMatcher(NamedTuple):
    """One matcher of machine code.

    `effects` names the effects that it can show, which commits of the catalogue name under `code`; `functions` are
    those that it reads. `find` gets the functions that were found, the decoded ones among them, and the kernel's BTF if
    there is any.
    """

    effects: tuple[str, ...]
    functions: tuple[str, ...]
    find: Callable[[Mapping[str, Function], Mapping[str, list[Insn]], Btf | None], Iterator[Shown]]


class CodeIsa(NamedTuple):
    """One architecture: its name for people, its decoder (None if a function does not decode whole), and its matchers
    by the names that the catalogue uses. A matcher of one name shows the same effects on every architecture.
    """

    title: str
    decode: Callable[[Function], list[Insn] | None]
    matchers: Mapping[str, CodeMatcher]

    @property
    def functions(self) -> tuple[str, ...]:
        """Returns the functions that are looked at, each once."""
        return tuple(dict.fromkeys(name for matcher in self.matchers.values() for name in matcher.functions))


@cache
def isas() -> Mapping[str, CodeIsa]:
    """Returns every architecture whose machine code is read, by its name."""
    modules = (module.name for module in pkgutil.iter_modules(code.__path__))
    found = (name for name in modules if name in ARCHITECTURES)
    return {name: import_module(f"{__package__}.{name}").ISA for name in found}
