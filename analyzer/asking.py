"""Audits release strings, and the kernels of a list of nodes, with permission to look builds up online. Each kernel is
judged and looked up only once.

Kernels that the catalogue and the surveys decide are not looked up. Builds whose changelogs are in the same place are
looked up by one process, which reads that place once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from tailcall_audit.analyzer.judging import judge_subject
from tailcall_audit.analyzer.kernelfiles.release.parse import parse_release
from tailcall_audit.analyzer.kernelfiles.release.types import KernelRelease, ReleaseError
from tailcall_audit.analyzer.model import AuditError, Skipped, State, TargetReport
from tailcall_audit.analyzer.subjects.nodes import NodeKernel, subject_of_kernel
from tailcall_audit.analyzer.subjects.online import place_of
from tailcall_audit.analyzer.subjects.release import open_subjects
from tailcall_audit.analyzer.subjects.subject import Request, Subject
from tailcall_audit.analyzer.targets import Source

__all__ = ["judge_asking", "look_up_nodes"]

_Judged = TargetReport | AuditError | Skipped
_Judge = Callable[[Request, Sequence[Source]], Iterator[_Judged]]
_RELEASE = "release"


def _kernel(release: KernelRelease) -> KernelRelease:
    """Returns the kernel of a release string, without the rest of the line that it was found in."""
    return release._replace(text=release.release)


class _Kernel(NamedTuple):
    """A kernel that may be looked up: its release, and how a request that may look it up makes it a subject."""

    release: KernelRelease
    opened: Callable[[Request], Subject]


class _Asked:
    """The kernels that the sources name, with the report on each."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.reports: dict[Hashable, _Judged] = {}
        self._kernels: dict[Hashable, _Kernel] = {}

    def add(self, key: Hashable, kernel: _Kernel, judged: Callable[[Request], _Judged]) -> None:
        """Judges a kernel without looking it up, unless that was done before."""
        if key not in self.reports:
            self._kernels[key] = kernel
            self.reports[key] = judged(self.request._replace(online=None))

    def ask(self) -> None:
        """Looks up the kernels with unknown verdicts."""
        assert self.request.online is not None  # the caller's condition
        places: dict[str, list[Hashable]] = {}
        for key, report in self.reports.items():
            is_open = isinstance(report, TargetReport) and State.UNKNOWN in report.states.values()
            release = self._kernels[key].release
            place = place_of(self.request.online, self.request, release) if is_open else None
            if place is not None:
                places.setdefault(place, []).append(key)
        for keys in places.values():
            self._ask_in_one_place(keys)

    def _ask_in_one_place(self, keys: Sequence[Hashable]) -> None:
        found: list[_Judged] = []
        failure = "the process that looked it up ended early"
        try:
            found += self._answers(keys)
        except AuditError as error:
            failure = str(error)
        for place, key in enumerate(keys):
            answer = found[place] if place < len(found) else None
            if isinstance(answer, TargetReport):
                self.reports[key] = answer
            else:
                self._note(key, str(answer.reason) if isinstance(answer, Skipped) else str(answer or failure))

    def _answers(self, keys: Sequence[Hashable]) -> Iterator[_Judged]:
        """Yields the report of each kernel, in order. Raises AuditError if the remaining ones cannot be looked up."""
        kernels = [self._kernels[key] for key in keys]

        def judge(progress: Callable[[str], None]) -> Iterator[TargetReport | Skipped]:
            request = self.request._replace(progress=progress)
            for kernel in kernels:
                yield self._look_up(request, kernel)

        if not self.request.apart:
            yield from judge(self.request.progress)
            return
        from tailcall_audit.analyzer.limits import LIMITS
        from tailcall_audit.analyzer.worker import judge_apart

        yield from judge_apart(judge, LIMITS["repository"], self.request.catalog, self.request.progress)

    def _note(self, key: Hashable, why: str) -> None:
        report = self.reports[key]
        if isinstance(report, TargetReport):
            self.reports[key] = report._replace(notes=(*report.notes, f"looked up without an answer: {why}"))

    def _look_up(self, request: Request, kernel: _Kernel) -> TargetReport | Skipped:
        try:
            return judge_subject(kernel.opened(request), request)
        except AuditError as error:
            return Skipped(kernel.release.release, str(error))


def _of_text(text: str, request: Request) -> Subject:
    (subject,) = open_subjects(request, text)
    return subject


def judge_asking(request: Request, sources: Sequence[Source], judge: _Judge) -> Iterator[_Judged]:
    """Yields the report of every source, in order. `judge` judges a kernel without looking it up."""
    asked = _Asked(request)
    kernels: list[KernelRelease | AuditError] = []
    for _, text in sources:
        try:
            release = parse_release(text, request.catalog)
        except ReleaseError as error:
            kernels.append(error)
            continue
        kernel = _kernel(release)
        opened = _Kernel(kernel, partial(_of_text, text))
        asked.add(kernel, opened, lambda plain, text=text: next(iter(judge(plain, [(_RELEASE, text)]))))  # type: ignore[misc]
        kernels.append(kernel)
    asked.ask()
    for (_, text), found in zip(sources, kernels, strict=True):
        if isinstance(found, AuditError):
            yield Skipped(text, str(found)) if len(sources) > 1 else found
        else:
            yield asked.reports[found]


def _of_node(kernel: NodeKernel, request: Request) -> Subject:
    return subject_of_kernel(request, kernel)


def look_up_nodes(
    request: Request, kernels: Sequence[NodeKernel], reports: Sequence[TargetReport]
) -> tuple[TargetReport, ...]:
    """Returns the reports on the kernels of nodes, in order, with the open ones looked up. `reports` were made without a
    look-up.
    """
    asked = _Asked(request)
    for kernel, report in zip(kernels, reports, strict=True):
        release = _kernel(parse_release(kernel.text, request.catalog))
        asked.add(kernel, _Kernel(release, partial(_of_node, kernel)), lambda _, report=report: report)  # type: ignore[misc]
    asked.ask()
    found = [asked.reports[kernel] for kernel in kernels]
    return tuple(item for item in found if isinstance(item, TargetReport))
