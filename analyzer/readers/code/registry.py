"""Runs the matchers of an architecture (`isa`) on a kernel's functions.

Each matcher names the places that a commit changes and the state of each: there, lacking, odd or not seen. A function
gives no answer if it is not in the symbols, does not decode whole, or has a shape that was not seen. `claims` combines
the places. Operands are decoded and jumps are followed; offsets of members come from the kernel's BTF.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.analyzer.readers.code.claims import Claim, Finding
from tailcall_audit.analyzer.readers.code.isa import CodeIsa
from tailcall_audit.probes.kernel.btf import Btf, BtfError

__all__ = ["Claim", "Finding", "findings", "functions_of"]


def functions_of(isa: CodeIsa, catalog: Catalog, commits: Iterable[str]) -> frozenset[str]:
    """Returns the functions that are read for some commits."""
    matchers = {code["matcher"] for key in commits if (code := catalog.commits[key].code) is not None}
    return frozenset(name for matcher in matchers & isa.matchers.keys() for name in isa.matchers[matcher].functions)


@lru_cache(maxsize=1)
def _shipped() -> Catalog:
    return load_catalog()


def findings(
    isa: CodeIsa,
    functions: Mapping[str, Function],
    btf: Btf | None,
    broken: Callable[[str], None] = lambda _: None,
    catalog: Catalog | None = None,
) -> Iterator[Finding]:
    """Yields all claims of the code about the commits of a catalogue (the shipped one). `broken` is called with the
    reason if broken BTF keeps a matcher from an answer.
    """
    decoded = {name: insns for name, function in functions.items() if (insns := isa.decode(function)) is not None}
    named: dict[tuple[str, str], list[str]] = {}
    for commit in (catalog or _shipped()).commits.values():
        if commit.code is not None:
            named.setdefault((commit.code["matcher"], commit.code["effect"]), []).append(commit.key)
    for name, matcher in isa.matchers.items():
        if not any(matcher_name == name for matcher_name, _ in named):
            continue
        try:
            # All claims of a matcher or none: a later one may qualify an earlier one.
            found = list(matcher.find(functions, decoded, btf))
        except BtfError as error:
            broken(f"its BTF is broken: {error}")
            found = list(matcher.find(functions, decoded, None))
        for shown in found:
            for key in named.get((name, shown.effect), ()):
                yield Finding(key, shown.claim, shown.function, shown.detail)
