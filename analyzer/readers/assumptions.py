"""The configuration options that are taken as set, or as not set, when a commit's code is read.

A defect that needs CONFIG_BPF_JIT cannot be reached without it, so code under that option counts as compiled. If a
commit matters for several defects, only options that all of them need are assumed.
"""

from __future__ import annotations

from tailcall_audit.analyzer.catalog.expression import Expression, Operator
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.conditionals import Assumptions

__all__ = ["assumptions_by_commit"]


def _needed(config: Expression) -> tuple[frozenset[str], frozenset[str]]:
    """Returns the options that every alternative of an expression needs set, and those that every one needs not set."""
    if config.operator is Operator.LEAF:
        return frozenset((f"CONFIG_{config.name}",)), frozenset()
    pairs = [_needed(part) for part in config.parts]
    if config.operator is Operator.NOT:
        # "not (A and B)" implies neither.
        return (pairs[0][1], pairs[0][0]) if config.parts[0].operator is Operator.LEAF else (frozenset(), frozenset())
    ons, offs = [on for on, _ in pairs], [off for _, off in pairs]
    if config.operator is Operator.ANY:
        return frozenset.intersection(*ons), frozenset.intersection(*offs)
    return frozenset[str]().union(*ons), frozenset[str]().union(*offs)


def assumptions_by_commit(catalog: Catalog) -> dict[str, Assumptions]:
    """Returns the assumptions for every commit that a defect names."""
    found: dict[str, Assumptions] = {}
    for defect in catalog.defects:
        on, off = _needed(defect.config)
        for key in defect.commits:
            known = found.get(key)
            found[key] = Assumptions(on, off) if known is None else Assumptions(known.on & on, known.off & off)
    return found
