"""Decides which mutants a run makes of a kernel, and in which order."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Iterator

from bench.mutation.judges import SLUGS
from bench.mutation.jumps import flips
from bench.mutation.subject import Mutation, MutationError, Subject
from bench.mutation.undo import UNDONE
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.readers.code import registry
from tailcall_audit.analyzer.readers.code.isa import isas

__all__ = ["plan", "slugs_of"]

_ISA = isas()["x86_64"]
"""All mutants are x86-64 kernels."""


@functools.cache
def _functions() -> dict[str, frozenset[str]]:
    """Returns, for each defect, the functions that the signatures of its fix read."""
    catalog = load_catalog()
    fixes = {item.slug: frozenset(leaves(item.fixed)) for item in catalog.defects if item.fixed is not None}
    return {slug: registry.functions_of(_ISA, catalog, fixes[slug]) for slug in SLUGS}


def slugs_of(function: str) -> tuple[str, ...]:
    """Returns the defects that a signature looks for in a function, or in a part that the compiler split off."""
    name = function.removesuffix(".part")
    return tuple(slug for slug, functions in _functions().items() if name in functions)


def plan(subject: Subject, limit: int | None, only: Iterable[str] = ()) -> Iterator[Mutation]:
    """Yields the mutations that undo fixes, then every flip of a conditional jump in the functions that signatures read
    (or in `only`), the smallest function first. At most `limit` flips of each function are chosen at random; the choice
    is the same in every run.
    """
    chosen = tuple(only)
    for undone in UNDONE:
        try:
            mutation = undone.make(subject)
        except MutationError:
            continue
        if not chosen or mutation.function in chosen:
            yield mutation
    found = subject.functions(chosen or _ISA.functions)
    for function in sorted(found.values(), key=lambda item: (len(item.code), item.name)):
        changes = list(flips(subject, function))
        random.Random(function.name).shuffle(changes)
        yield from changes[:limit]
