"""Makes the lab's table: what guests showed and what judges answered for each kernel and defect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from bench.mutation.judges import SLUGS
from bench.mutation.plan import slugs_of
from bench.mutation.records import Key, Seen, Table
from tailcall_audit.analyzer.model import State

__all__ = ["differences", "merged", "summary"]

_SAFE = (State.FIXED, State.NOT_AFFECTED)
_WIDTH = 14
_LEGEND = (
    "present, absent: what the guest showed; new: present, and not in the unchanged kernel; JUDGE:safe: of those present"
    " called fixed or not affected, of those asked about (to reach: 0); JUDGE:aff.: of those absent called affected"
)


class _Counts(NamedTuple):
    """The counts for one kernel and defect. `present` are mutants whose guest showed the defect, `new` those of them
    where the unchanged kernel does not show it, `absent` those whose guest surely did not show it. `called_safe` has
    for each judge how many of the present it called safe, and how many it judged. `called_affected` has how many of the
    absent it called affected, and how many it judged.
    """

    mutants: int
    present: int
    new: int
    absent: int
    called_safe: dict[str, tuple[int, int]]
    called_affected: dict[str, tuple[int, int]]


def merged(booted: Table[Seen], frozen: Table[Seen]) -> dict[Key, Mapping[str, Seen]]:
    """Returns what guests showed of every mutant. A full boot takes precedence over the frozen guest."""
    return {**frozen.rows, **booted.rows}


def differences(booted: Table[Seen], frozen: Table[Seen]) -> Iterator[tuple[Key, str, Seen, Seen]]:
    """Yields the mutants and defects for which both kinds of guests have an answer, but different ones."""
    answers = (Seen.PRESENT, Seen.ABSENT)
    for key in booted.rows.keys() & frozen.rows.keys():
        for slug in SLUGS:
            one, other = booted.rows[key][slug], frozen.rows[key][slug]
            if one is not other and one in answers and other in answers:
                yield key, slug, one, other


def _count(
    keys: list[Key], slug: str, shown: Mapping[Key, Mapping[str, Seen]], verdicts: Mapping[str, Table[State]]
) -> _Counts:
    present = [key for key in keys if shown[key][slug] is Seen.PRESENT]
    absent = [key for key in keys if shown[key][slug] is Seen.ABSENT]
    had_it = {key.kernel for key in shown if not key.function and shown[key][slug] is Seen.PRESENT}

    def called(judge: str, some: list[Key], states: tuple[State, ...]) -> tuple[int, int]:
        asked = [rows[key][slug] for rows in (verdicts[judge].rows,) for key in some if key in rows]
        return sum(state in states for state in asked), len(asked)

    return _Counts(
        len(keys),
        len(present),
        sum(key.kernel not in had_it for key in present),
        len(absent),
        {judge: called(judge, present, _SAFE) for judge in verdicts},
        {judge: called(judge, absent, (State.AFFECTED,)) for judge in verdicts},
    )


def summary(booted: Table[Seen], frozen: Table[Seen], verdicts: Mapping[str, Table[State]]) -> tuple[list[str], int]:
    """Returns the lines of the table, and the number of times that a judge called a mutant safe although its guest
    shows the defect.
    """
    shown = merged(booted, frozen)
    head = f"{'kernel':28} {'defect':26} {'mutants':>7} {'present':>7} {'new':>5} {'absent':>7}"
    head += "".join(f" {f'{judge}:safe':>{_WIDTH}} {f'{judge}:aff.':>{_WIDTH}}" for judge in verdicts)
    lines = [head]
    holes = 0
    for kernel in dict.fromkeys(key.kernel for key in shown):
        for slug in SLUGS:
            keys = [key for key in shown if key.kernel == kernel and slug in slugs_of(key.function)]
            if not keys:
                continue
            found = _count(keys, slug, shown, verdicts)
            holes += sum(safe for safe, _ in found.called_safe.values())
            line = f"{kernel[:28]:28} {slug:26} {found.mutants:7} {found.present:7} {found.new:5} {found.absent:7}"
            columns = [
                column for judge in verdicts for column in (found.called_safe[judge], found.called_affected[judge])
            ]
            line += "".join(f" {f'{some}/{all_of}':>{_WIDTH}}" for some, all_of in columns)
            lines.append(line)
    lines.append(_LEGEND)
    both = booted.rows.keys() & frozen.rows.keys()
    apart = list(differences(booted, frozen))
    lines.append(f"{len(both)} mutants both booted and run in the frozen guest; {len(apart)} answers differ")
    lines += [f"  {' '.join(key)}: {slug} booted {one.value}, frozen {other.value}" for key, slug, one, other in apart]
    return lines, holes
