"""What the machine code of a kernel's functions shows, on x86-64: fixes that change what the JIT emits, or one function's body.

Each matcher names the places that a commit changes and says what it saw of each: there, lacking, odd or not seen. A function that is
not in the symbols, does not decode whole, or has a shape that was not seen gives no answer; what is proven by all places together is in
`claims`. Operands are decoded and jumps are followed; offsets of structure members come from the kernel's BTF.

All were seen on Debian's gcc builds of 5.10.218, 6.1.170, 6.1.192, 6.12.94, 6.12.117, 6.16.12, 6.18.5, 7.2.13 and 7.3.4, and on two gcc
builds of a small configuration of 5.10.218 and 6.1.170, each with one fix taken out. Mutants of these kernels, in which a place or a jump
is changed, are held against what their guests show: ``python -m bench.mutants``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.kernelfiles.isa.x86_64 import Insn, decode
from tailcall_audit.analyzer.readers.code import jit, owner_check, prog_array, trampoline
from tailcall_audit.analyzer.readers.code.claims import Claim, Finding, Shown
from tailcall_audit.probes.kernel.btf import Btf, BtfError

__all__ = ["FUNCTIONS", "MATCHERS", "Claim", "CodeMatcher", "Finding", "findings", "functions_of"]


class CodeMatcher(NamedTuple):
    """What a matcher can show, by names that commits of the catalogue have under `code`, the functions that it reads, and how: from
    those that were found, decoded where they decode whole, and the kernel's BTF, where it has any."""

    effects: tuple[str, ...]
    functions: tuple[str, ...]
    find: Callable[[Mapping[str, Function], Mapping[str, list[Insn]], Btf | None], Iterator[Shown]]


MATCHERS = {
    "jit-hierarchy": CodeMatcher(("count-behind-pointer",), jit.FUNCTIONS, jit.hierarchy),
    "trampoline": CodeMatcher(("count-through-trampoline",), trampoline.FUNCTIONS, trampoline.trampoline),
    "jit-count-offset": CodeMatcher(("rounded-count-offset",), jit.FUNCTIONS, jit.count_offset),
    "owner-check": CodeMatcher(
        ("target-type", "extensions-only", "target-null-check", "saved-target-type", "open-coded-target-type"),
        owner_check.FUNCTIONS,
        owner_check.owner_check,
    ),
    "prog-array": CodeMatcher(("extended-refused",), prog_array.FUNCTIONS, prog_array.extended_programs),
}
"""The matchers by the names that the catalogue calls them; all read x86-64."""
FUNCTIONS = tuple(dict.fromkeys(name for matcher in MATCHERS.values() for name in matcher.functions))
"""The functions that are looked at."""


def functions_of(catalog: Catalog, commits: Iterable[str]) -> frozenset[str]:
    """The functions that are read for some commits."""
    matchers = {code["matcher"] for key in commits if (code := catalog.commits[key].code) is not None}
    return frozenset(name for matcher in matchers for name in MATCHERS[matcher].functions)


@lru_cache(maxsize=1)
def _shipped() -> Catalog:
    return load_catalog()


def findings(
    functions: Mapping[str, Function],
    btf: Btf | None,
    broken: Callable[[str], None] = lambda _: None,
    catalog: Catalog | None = None,
) -> Iterator[Finding]:
    """Everything that the code shows of the commits of a catalogue (the shipped one). `broken` hears why a matcher gives no answer,
    where that is for broken BTF."""
    decoded = {name: insns for name, function in functions.items() if (insns := decode(function)) is not None}
    named: dict[tuple[str, str], list[str]] = {}
    for commit in (catalog or _shipped()).commits.values():
        if commit.code is not None:
            named.setdefault((commit.code["matcher"], commit.code["effect"]), []).append(commit.key)
    for name, matcher in MATCHERS.items():
        if not any(matcher_name == name for matcher_name, _ in named):
            continue
        try:
            # All of a matcher or nothing: what it says last may qualify what it says first.
            found = list(matcher.find(functions, decoded, btf))
        except BtfError as error:
            broken(f"its BTF is broken: {error}")
            found = list(matcher.find(functions, decoded, None))
        for shown in found:
            for key in named.get((name, shown.effect), ()):
                yield Finding(key, shown.claim, shown.function, shown.detail)
