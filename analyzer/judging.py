"""Reads and judges one subject, with the steps that all kinds of subjects take."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextvars import copy_context

from tailcall_audit.analyzer.basis import today
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.evidence import OptionSeen
from tailcall_audit.analyzer.model import TargetReport, Verdict
from tailcall_audit.analyzer.policy.ageing import without_old
from tailcall_audit.analyzer.policy.facts import MEMORY, Facts
from tailcall_audit.analyzer.policy.judge import judge_all
from tailcall_audit.analyzer.policy.options import contradicted
from tailcall_audit.analyzer.policy.overruled import overruled_by_code
from tailcall_audit.analyzer.readers.registry import READERS, Reader, Reading
from tailcall_audit.analyzer.subjects.subject import Parts, Request, Subject

__all__ = ["judge_alone", "judge_subject", "read_facts"]

_FEW = 8
"""The number of kernels up to which each is judged by itself."""


class _Beside(threading.Thread):
    """A reader that runs in its own thread, in parallel with the others."""

    def __init__(self, reader: Reader, subject: Subject, request: Request) -> None:
        super().__init__(daemon=True)
        self._reader, self._subject, self._request = reader, subject, request
        self._context = copy_context()
        self._reading = Reading()
        self._error: BaseException | None = None

    def run(self) -> None:
        """Runs the reader. An exception is kept for `outcome`."""
        try:
            self._reading = self._context.run(self._reader.read, self._subject, self._request)
        except BaseException as error:
            self._error = error

    def outcome(self) -> Reading:
        """Waits for the result. Raises the exception of the reader, if there was one."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._reading


def _read(subject: Subject, request: Request) -> list[Reading]:
    """Runs all readers that apply to a subject and returns their results, the highest rank first. Raises AuditError."""
    readers = [reader for reader in READERS if reader.applies(subject)]
    beside = {reader.kind: _Beside(reader, subject, request) for reader in readers if reader.beside}
    for thread in beside.values():
        thread.start()
    found = {reader.kind: reader.read(subject, request) for reader in readers if not reader.beside}
    found |= {kind: thread.outcome() for kind, thread in beside.items()}
    return [found[reader.kind] for reader in readers]


def _asked_for(verdicts: Iterable[Verdict], request: Request, architecture: str | None) -> tuple[Verdict, ...]:
    """Leaves out pitfalls of other architectures if only pitfalls are requested."""
    if not request.pitfalls or architecture is None:
        return tuple(verdicts)
    return tuple(
        item for item in verdicts if not item.defect.architectures or architecture in item.defect.architectures
    )


def _newer_than(subject: Subject, catalog: Catalog) -> str | None:
    """Returns the newest mainline release of the catalogue, if the subject's release is later."""
    release, newest = subject.release, catalog.newest_mainline
    return str(newest) if release is not None and release.version.base > newest else None


def _options(subject: Subject, request: Request) -> tuple[tuple[OptionSeen, ...], tuple[str, ...]]:
    """Returns the options that the functions of an image show, and notes. An option that contradicts a configuration
    is left out, because it is not known which of the two is right.
    """
    if subject.parts.image is None:
        return (), ()
    from tailcall_audit.analyzer.readers.options import read_options

    seen = read_options(subject, request)
    if not subject.config_applies:
        return seen, ()
    wrong = {item: notes for item in seen if (notes := contradicted(subject.config, (item,)))}
    return tuple(item for item in seen if item not in wrong), tuple(text for notes in wrong.values() for text in notes)


def read_facts(subject: Subject, request: Request) -> tuple[Facts, tuple[str, ...]]:
    """Returns the facts that the readers found in a subject, and their notes. Raises AuditError if it cannot be
    read.
    """
    readings = _read(subject, request)
    evidence = [item for reading in readings for item in reading.evidence]
    if request.max_age is not None:
        teach = None if subject.release is None else subject.release.teach
        evidence = list(without_old(evidence, request.max_age, request.today or today(), teach))
    seen, wrong = _options(subject, request)
    facts = Facts(
        evidence,
        subject.architecture,
        subject.config,
        subject.config_applies and not wrong,
        subject.live_patches,
        _newer_than(subject, request.catalog),
        seen,
    )
    return facts, (*wrong, *(text for item in readings for text in item.notes))


def judge_alone(subject: Subject, request: Request) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Returns the verdicts on a subject, and the notes of its readers."""
    facts, notes = read_facts(subject, request)
    return _asked_for(judge_all(request.catalog, facts, request.defects), request, subject.architecture), notes


def _judged_with_others(subject: Subject, request: Request) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Returns what `judge_alone` returns. In large audits, kernels of which only the release is known share verdicts."""
    only_release = subject.release is not None and subject.config is None and subject.parts == Parts()
    if not only_release or MEMORY.of(request.catalog).targets <= _FEW:
        return judge_alone(subject, request)
    from tailcall_audit.analyzer.alike import judge_alike

    return judge_alike(subject, request, lambda item, asked: judge_alone(item, asked)[0]), ()


def judge_subject(subject: Subject, request: Request) -> TargetReport:
    """Reads and judges one subject. Raises AuditError if it cannot be read."""
    verdicts, read_notes = _judged_with_others(subject, request)
    notes = [*overruled_by_code(verdicts), *subject.notes, *read_notes]
    return TargetReport(
        label=subject.label,
        kind=subject.kind,
        identity=subject.identity,
        verdicts=verdicts,
        notes=tuple(dict.fromkeys(notes)),
        bootable=subject.bootable,
        is_running=subject.is_running,
        series=subject.series,
        version=subject.version,
    )
