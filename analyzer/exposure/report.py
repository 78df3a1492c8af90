"""All that is said of programs: what they do, and what it means on kernels."""

from __future__ import annotations

from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.exposure.join import Row
from tailcall_audit.analyzer.exposure.releases import Oldest
from tailcall_audit.analyzer.exposure.types import Exposure
from tailcall_audit.analyzer.model import Report, Skipped
from tailcall_audit.analyzer.programs.types import Program, ProgramSet

__all__ = ["ExposureReport", "outline"]


class ExposureReport(NamedTuple):
    """The programs (without their code), their exposure to each defect, and inputs that could not be read.

    `report` is the audit of kernels joined with it, None where none were named; `rows` and `oldest` are what follows.
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
    """The only architecture that is asked about; None: all."""


def outline(found: ProgramSet) -> ProgramSet:
    """Returns a set without its code, with the source lines of its calls only: what a report shows of it."""
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
    lines = {place: line for place in sorted(places) if (line := program.line_of(place)) is not None}
    return program._replace(instructions=(), lines=lines)
