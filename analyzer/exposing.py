"""Reads programs and evaluates the defects' conditions for them, in a process with limits because objects may be
hostile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.exposure.evaluate import expose
from tailcall_audit.analyzer.exposure.report import ExposureReport, outline
from tailcall_audit.analyzer.exposure.types import Exposure
from tailcall_audit.analyzer.limits import LIMITS
from tailcall_audit.analyzer.model import AuditError, Skipped
from tailcall_audit.analyzer.programs.types import ProgramSet
from tailcall_audit.analyzer.worker import work_apart

__all__ = ["Asked", "expose_programs"]

_Item = ProgramSet | Exposure | Skipped


class Asked(NamedTuple):
    """The programs to read: object files, output of bpftool, and the programs loaded on this host.

    `closed`: there are no other programs. `compiled`: the kernel compiles them with its JIT. `complete`: no further
    input was given that could not be read.
    """

    objects: tuple[str, ...] = ()
    bpftool: tuple[str, ...] = ()
    loaded: bool = False
    closed: bool = False
    compiled: bool = False
    complete: bool = True


class _Kind(Enum):
    """A kind of input; the value is the module of `tailcall_audit.analyzer.programs` that reads it."""

    OBJECTS = "objects"
    BPFTOOL = "bpftool"
    LOADED = "loaded"


_Input = tuple[_Kind, str]
"""An input and its name: a path, or what stands for this host."""


def _read(kind: _Kind, name: str) -> Iterator[ProgramSet]:
    """Yields the program sets of one input. Raises AuditError."""
    module = import_module(f"tailcall_audit.analyzer.programs.{kind.value}")
    if kind is _Kind.LOADED:
        yield module.read_loaded()
    elif kind is _Kind.BPFTOOL:
        yield module.read_bpftool(name)
    else:
        yield from module.read_object(name)


def _compiled(found: ProgramSet) -> ProgramSet:
    """Returns a set whose programs are marked as compiled by the JIT, except those that are known to be interpreted."""
    programs = (item._replace(jited=True) if item.jited is None else item for item in found.programs)
    return found._replace(programs=tuple(programs))


def _reason(error: AuditError, name: str) -> str:
    """Returns the reason of an error without the name of the input, which the report shows in front of it."""
    return str(error).removeprefix(f"{name}: ")


def _inputs(asked: Asked) -> list[_Input]:
    found = [(_Kind.OBJECTS, name) for name in asked.objects] + [(_Kind.BPFTOOL, name) for name in asked.bpftool]
    return found + ([(_Kind.LOADED, "this host")] if asked.loaded else [])


def _evaluate(
    inputs: list[_Input],
    asked: Asked,
    catalog: Catalog,
    defects: tuple[Defect, ...],
    progress: Callable[[str], None],
) -> Iterator[_Item]:
    """Yields the program sets without their code, the inputs that could not be read, and the exposures."""
    sets: list[ProgramSet] = []
    complete = asked.complete
    for kind, name in inputs:
        progress(f"reading {name}")
        try:
            sets += (_compiled(item) if asked.compiled else item for item in _read(kind, name))
        except AuditError as error:
            complete = False
            yield Skipped(name, _reason(error, name))
    yield from map(outline, sets)
    complete = complete and not any(item.is_unread for item in sets)
    if any(item.programs for item in sets):
        progress("looking at what the programs do")
        yield from expose(catalog, sets, closed=asked.closed, complete=complete, defects=defects)


def _apart(
    inputs: list[_Input],
    asked: Asked,
    catalog: Catalog,
    defects: tuple[Defect, ...],
    progress: Callable[[str], None],
) -> list[_Item]:
    kinds = (ProgramSet, Exposure, Skipped)
    judge = lambda say: _evaluate(inputs, asked, catalog, defects, say)  # noqa: E731
    return list(work_apart(judge, LIMITS["programs"], catalog, progress, kinds))


def _one_by_one(
    inputs: list[_Input], asked: Asked, catalog: Catalog, progress: Callable[[str], None]
) -> Iterator[Skipped]:
    """Yields the inputs that make the reading process fail, each tried in a process of its own."""
    for item in inputs:
        try:
            _apart([item], asked, catalog, (), progress)
        except AuditError as error:
            yield Skipped(item[1], _reason(error, item[1]))


def _said(item: Skipped) -> str:
    """Returns the label and the reason, once if the reason has the label."""
    return item.reason if item.label in item.reason else f"{item.label}: {item.reason}"


def expose_programs(
    asked: Asked, catalog: Catalog, defects: tuple[Defect, ...], progress: Callable[[str], None]
) -> ExposureReport:
    """Returns the exposure of programs to each of the defects.

    An input, or an object in one, that cannot be read is listed in `skipped`; then these are not all programs, whatever
    `Asked.closed` states. Raises AuditError if no input contains a program.
    """
    inputs = _inputs(asked)
    skipped: list[Skipped] = []
    try:
        items = _apart(inputs, asked, catalog, defects, progress)
    except AuditError:
        # One input may have ended the process. Each is tried on its own, so that the others are still read.
        skipped = list(_one_by_one(inputs, asked, catalog, progress)) if len(inputs) > 1 else []
        if not skipped or len(skipped) == len(inputs):
            raise
        bad = {item.label for item in skipped}
        readable = [item for item in inputs if item[1] not in bad]
        items = _apart(readable, asked._replace(complete=False), catalog, defects, progress)
    found = [item for item in items if isinstance(item, ProgramSet)]
    sets = tuple(item for item in found if not item.is_unread)
    skipped += [item for item in items if isinstance(item, Skipped)]
    skipped += [Skipped(item.label, "; ".join(item.notes)) for item in found if item.is_unread]
    if not any(item.programs for item in sets):
        raise AuditError("; ".join(map(_said, skipped)) or f"{inputs[0][1]}: there is no BPF program in it")
    exposures = tuple(item for item in items if isinstance(item, Exposure))
    return ExposureReport(sets, exposures, tuple(skipped), asked.closed and not skipped, catalog)
