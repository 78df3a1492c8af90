"""The lab's table: for each kernel and defect, what guests showed and what judges said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from bench.mutation.judges import SLUGS
from bench.mutation.plan import functions_of
from bench.mutation.records import Key, Seen, Table
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.model import State

__all__ = ["summary"]

_SAFE = (State.FIXED, State.NOT_AFFECTED)
_WIDTH = 12


class _Counts(NamedTuple):
    """Of one kernel and defect: mutants, guests that showed the defect, those that surely did not, and for each judge
    how many of the first it called safe, and of the second affected.
    """

    mutants: int
    present: int
    absent: int
    called_safe: dict[str, int]
    called_affected: dict[str, int]


def _count(keys: list[Key], slug: str, guests: Table[Seen], verdicts: Mapping[str, Table[State]]) -> _Counts:
    present = [key for key in keys if guests.rows[key][slug] is Seen.PRESENT]
    absent = [key for key in keys if guests.rows[key][slug] is Seen.ABSENT]

    def called(judge: str, some: list[Key], states: tuple[State, ...]) -> int:
        rows = verdicts[judge].rows
        return sum(key in rows and rows[key][slug] in states for key in some)

    return _Counts(
        len(keys),
        len(present),
        len(absent),
        {judge: called(judge, present, _SAFE) for judge in verdicts},
        {judge: called(judge, absent, (State.AFFECTED,)) for judge in verdicts},
    )


def summary(guests: Table[Seen], verdicts: Mapping[str, Table[State]]) -> tuple[list[str], int]:
    """Returns the lines of the table, and how often the code called a mutant safe whose guest shows the defect."""
    catalog = load_catalog()
    fixes = {defect.slug: frozenset(leaves(defect.fixed)) for defect in catalog.defects if defect.slug in SLUGS}
    head = f"{'kernel':28} {'defect':26} {'mutants':>7} {'present':>7} {'absent':>7}"
    head += "".join(f" {f'{judge}:safe':>{_WIDTH}} {f'{judge}:aff.':>{_WIDTH}}" for judge in verdicts)
    lines = [head]
    holes = 0
    for kernel in dict.fromkeys(key.kernel for key in guests.rows):
        for slug in SLUGS:
            functions = functions_of(fixes[slug])
            keys = [key for key in guests.rows if key.kernel == kernel and key.function in functions]
            if not keys:
                continue
            found = _count(keys, slug, guests, verdicts)
            holes += found.called_safe.get("code", 0)
            line = f"{kernel[:28]:28} {slug:26} {found.mutants:7} {found.present:7} {found.absent:7}"
            line += "".join(
                f" {found.called_safe[judge]:{_WIDTH}} {found.called_affected[judge]:{_WIDTH}}" for judge in verdicts
            )
            lines.append(line)
    lines.append(
        "present, absent: what the guest showed; JUDGE:safe: of those present called fixed or not affected (to reach: 0);"
        " JUDGE:aff.: of those absent called affected"
    )
    return lines, holes
