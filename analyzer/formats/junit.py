"""Renders a report as JUnit XML, by junitparser: one suite for each kernel, one case for each defect.

Unknown is an error with its reason, because servers show *skipped* as passed. If the user's gate lets unknown pass, it
is skipped. A waived defect is skipped too, with the text of the waiver.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.formats.extra import needs
from tailcall_audit.analyzer.formats.kernel import Subject, subjects, with_skipped_nodes
from tailcall_audit.analyzer.formats.lines import details, programs_words
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Agreement, Report, State, Verdict
from tailcall_audit.analyzer.text import printable

if TYPE_CHECKING:
    from junitparser import TestCase, TestSuite
    from junitparser.junitparser import FinalResult

__all__ = ["render"]

_CLASS = "tailcall-audit"


def _is_contradicted(verdict: Verdict) -> bool:
    return verdict.observation is not None and verdict.observation.agreement is Agreement.CONTRADICTED


def _result(verdict: Verdict, view: View) -> list[FinalResult]:
    """Returns the result of a case; empty if the kernel does not have the defect."""
    from junitparser import Error, Failure, Skipped

    found: FinalResult
    if _is_contradicted(verdict):
        found = Failure(printable(f"a probe contradicts the prediction: {verdict.reason}"), "contradicted")
    elif verdict.waived and verdict.waiver is not None:
        waiver = verdict.waiver
        words = f"{verdict.state.value}, waived until {waiver.until} by {waiver.who}: {waiver.reason}"
        found = Skipped(printable(words), "waived")
    elif verdict.counts_as is State.AFFECTED:
        found = Failure(printable(verdict.reason + programs_words(verdict)), "affected")
    elif verdict.counts_as is State.UNKNOWN:
        words = printable(
            verdict.reason + programs_words(verdict) + (f"; to settle it: {verdict.settle}" if verdict.settle else "")
        )
        # A defect with an expired waiver fails, even if unknown verdicts may pass.
        allowed = view.unknown_passes and verdict.waiver is None
        found = Skipped(words, "unknown") if allowed else Error(words, "unknown")
    else:
        return []
    found.text = "\n".join(details(verdict))
    return [found]


def _case(subject: Subject, verdict: Verdict, view: View) -> TestCase:
    from junitparser import TestCase

    where = f" on {', '.join(verdict.architectures)}" if verdict.architectures else ""
    case = TestCase(verdict.defect.slug + where, f"{_CLASS}.{subject.kernel.name}", 0)
    case.result = _result(verdict, view)
    if verdict.counts_as in (State.FIXED, State.NOT_AFFECTED):
        case.system_out = printable(f"{verdict.state.value}: {verdict.reason}{programs_words(verdict)}")
    return case


def _suite(subject: Subject, view: View) -> TestSuite:
    from junitparser import TestSuite

    suite = TestSuite(subject.kernel.name)
    if subject.nodes:
        suite.add_property("nodes", str(len(subject.nodes)))
        suite.add_property("node names", subject.node_names(len(subject.nodes)))
    for verdict in subject.target.verdicts:
        suite.add_testcase(_case(subject, verdict, view))
    return suite


def render(report: Report, view: View) -> str:
    """Returns the report as JUnit XML. An input that could not be judged becomes a suite with one error.

    Raises AuditError if the library is not installed.
    """
    report = with_skipped_nodes(report)
    with needs("junitparser", "junit"):
        from junitparser import Error, JUnitXml, Skipped, TestCase, TestSuite

    document = JUnitXml("tailcall-audit")
    stamp = datetime.fromtimestamp(view.made, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    suites = [_suite(subject, view) for subject in subjects(report)]
    for item in report.skipped:
        suite, case = TestSuite(printable(item.label)), TestCase("audit", f"{_CLASS}.{printable(item.label)}", 0)
        words = printable(item.reason)
        case.result = [Skipped(words, "skipped") if view.unknown_passes else Error(words, "skipped")]
        suite.add_testcase(case)
        suites.append(suite)
    for suite in suites:
        suite.timestamp = stamp
        document.add_testsuite(suite)
    data: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return data.decode() + "\n"
