"""The data of an exposure report: the programs, their exposure, and what it means on kernels."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.exposure.join import Row
from tailcall_audit.analyzer.exposure.releases import Oldest
from tailcall_audit.analyzer.exposure.types import Exposure
from tailcall_audit.analyzer.model import Report, Skipped
from tailcall_audit.analyzer.programs.types import Program, ProgramSet, SourceLine

__all__ = ["ExposureReport", "outline"]


class ExposureReport(NamedTuple):
    """The programs (without their code), their exposure to each defect, and the inputs that could not be read.

    `report` is the audit of kernels joined with the exposure, None if no kernels were given. `rows` and `oldest` are
    derived from it.
    """

    sets: tuple[ProgramSet, ...]
    exposures: tuple[Exposure, ...]
    skipped: tuple[Skipped, ...]
    closed: bool
    catalog: Catalog
    report: Report | None = None
    rows: tuple[Row, ...] = ()
    oldest: tuple[Oldest, ...] = ()
    architecture: str | None = None
    """The only architecture that is considered; None: all."""


def outline(found: ProgramSet) -> ProgramSet:
    """Returns a set without its code and the calls of helpers, as a report shows it. Source lines are kept for calls
    only.
    """
    return found._replace(programs=tuple(map(_outlined, found.programs)))


def _outlined(program: Program) -> Program:
    places = {
        place
        for function in program.functions
        for place in (
            *(site.instruction for site in function.calls),
            *(site.instruction for site in function.callbacks),
            *(call.instruction for call in function.tail_calls),
        )
    }
    functions = tuple(function._replace(helpers=()) for function in program.functions)
    return program._replace(instructions=(), functions=functions, lines=dict(_lines_of(program, sorted(places))))


def _lines_of(program: Program, places: Iterable[int]) -> Iterator[tuple[int, SourceLine]]:
    """Yields instructions with their source lines."""
    known = sorted(program.lines)
    for place in places:
        before = bisect_right(known, place)
        if before:
            yield place, program.lines[known[before - 1]]
