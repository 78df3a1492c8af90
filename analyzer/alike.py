"""Judges kernels of which only the release is known: those with the same evidence are judged once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tailcall_audit.analyzer.catalog.memory import Memory
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.model import Verdict
from tailcall_audit.analyzer.policy.templates import Template, Templates
from tailcall_audit.analyzer.readers.alike import MARK, stand_in
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["judge_alike"]

_KNOWN: Memory[object, tuple[Sequence[Defect], Template]] = Memory(2000)
_TEMPLATES: Memory[str, Templates] = Memory(1)

Judge = Callable[[Subject, Request], tuple[Verdict, ...]]


def _templates(catalog: Catalog) -> Templates:
    """Returns what makes templates of the verdicts by a catalogue. It is made anew with the templates."""
    if not _KNOWN.of(catalog):
        _TEMPLATES.of(catalog).clear()
    return _TEMPLATES.of(catalog).setdefault(MARK, Templates(MARK))


def judge_alike(subject: Subject, request: Request, judge: Judge) -> tuple[Verdict, ...]:
    """Returns the verdicts on a kernel that has a release and no parts and no configuration.

    `judge` judges one subject. It is called for the first of the kernels with the same evidence.
    """
    assert subject.release is not None and subject.config is None
    found = stand_in(request.catalog, subject.release)
    if found is None:
        return judge(subject, request)
    asked = (id(request.defects), request.pitfalls, request.max_age, request.today)
    key = (found.key, subject.architecture, subject.confidence, subject.live_patches, asked)
    known = _KNOWN.of(request.catalog).get(key)
    if known is None or known[0] is not request.defects:
        judged = judge(subject._replace(release=found.release), request)
        known = _KNOWN.of(request.catalog)[key] = (request.defects, _templates(request.catalog).template(judged))
    return known[1].of(found.words)
