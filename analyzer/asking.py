"""Audits release strings with permission to look builds up online. Each kernel is judged and looked up only once.

Kernels that the catalogue and the surveys decide are not looked up. Builds whose changelogs are in the same place are
looked up by one process, which reads that place once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError
from tailcall_audit.analyzer.model import AuditError, Skipped, State, TargetReport
from tailcall_audit.analyzer.subjects.online import place_of
from tailcall_audit.analyzer.subjects.release import open_subjects
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.targets import Source

__all__ = ["judge_asking"]

_Judged = TargetReport | AuditError | Skipped
_Judge = Callable[[Request, Sequence[Source]], Iterator[_Judged]]
_JudgeSubject = Callable[[Subject, Request], TargetReport]
_RELEASE = "release"


def _kernel(release: KernelRelease) -> KernelRelease:
    """Returns the kernel of a release string, without the rest of the line that it was found in."""
    return release._replace(text=release.release)


class _Asked:
    """The kernels that the sources name, with the report on each."""

    def __init__(self, request: Request, judge: _Judge, judge_subject: _JudgeSubject) -> None:
        self.request = request
        self.judge = judge
        self.judge_subject = judge_subject
        self.reports: dict[KernelRelease, _Judged] = {}
        self._texts: dict[KernelRelease, str] = {}

    def add(self, text: str) -> KernelRelease:
        """Judges a kernel by its name, unless that was done before. Raises ReleaseError if the text names no kernel."""
        kernel = _kernel(parse_release(text, self.request.catalog))
        if kernel not in self.reports:
            self._texts[kernel] = text
            (self.reports[kernel],) = self.judge(self.request._replace(online=None), [(_RELEASE, text)])
        return kernel

    def ask(self) -> None:
        """Looks up the kernels with unknown verdicts."""
        assert self.request.online is not None  # the caller's condition
        places: dict[str, list[KernelRelease]] = {}
        for kernel, report in self.reports.items():
            is_open = isinstance(report, TargetReport) and State.UNKNOWN in report.states.values()
            place = place_of(self.request.online, self.request, kernel) if is_open else None
            if place is not None:
                places.setdefault(place, []).append(kernel)
        for kernels in places.values():
            self._ask_in_one_place(kernels)

    def _ask_in_one_place(self, kernels: Sequence[KernelRelease]) -> None:
        found: list[_Judged] = []
        failure = "the process that looked it up ended early"
        try:
            found += self._answers(kernels)
        except AuditError as error:
            failure = str(error)
        for place, kernel in enumerate(kernels):
            answer = found[place] if place < len(found) else None
            if isinstance(answer, TargetReport):
                self.reports[kernel] = answer
            else:
                self._note(kernel, str(answer.reason) if isinstance(answer, Skipped) else str(answer or failure))

    def _answers(self, kernels: Sequence[KernelRelease]) -> Iterator[_Judged]:
        """Yields the report of each kernel, in order. Raises AuditError if the remaining ones cannot be looked up."""
        sources = [(_RELEASE, self._texts[kernel]) for kernel in kernels]

        def judge(progress: Callable[[str], None]) -> Iterator[TargetReport | Skipped]:
            request = self.request._replace(progress=progress)
            for source in sources:
                yield self._look_up(request, source)

        if not self.request.apart:
            yield from judge(self.request.progress)
            return
        from tailcall_audit.analyzer.limits import LIMITS
        from tailcall_audit.analyzer.worker import judge_apart

        yield from judge_apart(judge, LIMITS["repository"], self.request.catalog, self.request.progress)

    def _note(self, kernel: KernelRelease, why: str) -> None:
        report = self.reports[kernel]
        if isinstance(report, TargetReport):
            self.reports[kernel] = report._replace(notes=(*report.notes, f"looked up without an answer: {why}"))

    def _look_up(self, request: Request, source: Source) -> TargetReport | Skipped:
        try:
            (subject,) = open_subjects(request, source[1])
            return self.judge_subject(subject, request)
        except AuditError as error:
            return Skipped(source[1], str(error))


def judge_asking(
    request: Request, sources: Sequence[Source], judge: _Judge, judge_subject: _JudgeSubject
) -> Iterator[_Judged]:
    """Yields the report of every source, in order. `judge` judges a kernel without looking it up."""
    asked = _Asked(request, judge, judge_subject)
    kernels: list[KernelRelease | AuditError] = []
    for _, text in sources:
        try:
            kernels.append(asked.add(text))
        except ReleaseError as error:
            kernels.append(error)
    asked.ask()
    for (_, text), kernel in zip(sources, kernels, strict=True):
        if isinstance(kernel, AuditError):
            yield Skipped(text, str(kernel)) if len(sources) > 1 else kernel
        else:
            yield asked.reports[kernel]
