"""Renders a report in Prometheus's text format, by prometheus-client, for the textfile collector of node_exporter.

The file replaces the one of the previous run, so that kernels that are gone have no series in it. Unknown has gauges of
its own and is never included in another gauge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tailcall_audit import __version__
from tailcall_audit.analyzer.formats.extra import needs
from tailcall_audit.analyzer.formats.kernel import Subject, subjects
from tailcall_audit.analyzer.formats.lines import Meaning, meaning
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Agreement, Report, State, Verdict
from tailcall_audit.analyzer.text import printable

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["render"]

_LABELS = ("kernel", "architecture", "defect", "severity")
_ANY = "any"


def _labels(subject: Subject, verdict: Verdict) -> list[str]:
    architecture = ",".join(verdict.architectures) or subject.kernel.architecture or _ANY
    return [subject.kernel.name, architecture, verdict.defect.slug, verdict.defect.severity]


def _by_verdict(report: Report) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    affected = GaugeMetricFamily(
        "tailcall_audit_affected", "1 if the kernel has the defect and no waiver accepts it, else 0", labels=_LABELS
    )
    unknown = GaugeMetricFamily(
        "tailcall_audit_unknown", "1 if it is not known whether the kernel has the defect, else 0", labels=_LABELS
    )
    waived = GaugeMetricFamily(
        "tailcall_audit_waived", "1 if a waiver accepts the defect that is there or may be there", labels=_LABELS
    )
    contradicted = GaugeMetricFamily(
        "tailcall_audit_contradicted", "1 if a probe saw what the prediction denied", labels=_LABELS
    )
    for subject in subjects(report):
        for verdict in subject.target.verdicts:
            labels, seen = _labels(subject, verdict), verdict.observation
            affected.add_metric(labels, float(verdict.state is State.AFFECTED and not verdict.waived))
            unknown.add_metric(labels, float(verdict.state is State.UNKNOWN and not verdict.waived))
            if verdict.waived:
                waived.add_metric(labels, 1)
            if seen is not None and seen.agreement is Agreement.CONTRADICTED:
                contradicted.add_metric(labels, 1)
    yield from (affected, unknown, waived, contradicted)


def _by_program(report: Report) -> Iterator[Metric]:
    """Yields what the kernels mean for the programs that were given; nothing where none were."""
    from prometheus_client.core import GaugeMetricFamily

    if not any(item.exposed is not None for target in report.targets for item in target.verdicts):
        return
    texts = {
        Meaning.HIT: "1 if the kernel has the defect and the programs meet it",
        Meaning.POSSIBLE_HIT: "1 if the kernel may have the defect, or the programs may meet it",
        Meaning.REFUSED: "1 if a fix of the defect makes the kernel refuse one of the programs",
        Meaning.POSSIBLY_REFUSED: "1 if a fix of the defect may make the kernel refuse one of them",
        Meaning.NOT_REACHED: "1 if the kernel has the defect and the programs do not reach it",
    }
    found = {
        one: GaugeMetricFamily(f"tailcall_audit_programs_{one.name.lower()}", text, labels=_LABELS)
        for one, text in texts.items()
    }
    for subject in subjects(report):
        for verdict in subject.target.verdicts:
            for one, metric in found.items() if verdict.exposed is not None else ():
                metric.add_metric(_labels(subject, verdict), float(meaning(verdict) is one))
    yield from found.values()


def _by_kernel(report: Report) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    counts = GaugeMetricFamily(
        "tailcall_audit_verdicts",
        "verdicts of a kernel by their state, waived ones included",
        labels=("kernel", "state"),
    )
    for subject in subjects(report):
        found = Counter(verdict.state for verdict in subject.target.verdicts)
        for state in State:
            counts.add_metric([subject.kernel.name, state.value], found[state])
    yield counts


def _about_the_run(report: Report, view: View) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    if report.nodes:
        nodes = GaugeMetricFamily("tailcall_audit_nodes", "nodes that run a kernel", labels=("kernel",))
        running = Counter(node.kernel for node in report.nodes)
        for place, subject in enumerate(subjects(report)):
            nodes.add_metric([subject.kernel.name], running[place])
        yield nodes
        yield GaugeMetricFamily("tailcall_audit_nodes_skipped", "nodes that could not be judged", value=running[None])
    yield GaugeMetricFamily("tailcall_audit_kernels", "kernels that were judged", value=len(report.targets))
    yield GaugeMetricFamily(
        "tailcall_audit_skipped", "inputs that could not be judged; each counts as unknown", value=len(report.skipped)
    )
    yield GaugeMetricFamily("tailcall_audit_last_run_timestamp_seconds", "when this was written", value=view.made)
    made = datetime.fromisoformat(report.catalog.date).replace(tzinfo=UTC).timestamp()
    yield GaugeMetricFamily("tailcall_audit_catalog_timestamp_seconds", "the day of the catalogue", value=made)
    info = GaugeMetricFamily("tailcall_audit_build_info", "the tool and its catalogue", labels=("version", "catalog"))
    info.add_metric([__version__, printable(report.catalog.date)], 1)
    yield info


class _Collector:
    """The collector that prometheus-client calls to get the metrics."""

    def __init__(self, report: Report, view: View) -> None:
        self._report, self._view = report, view

    def collect(self) -> Iterator[Metric]:
        """Yields every metric of the report."""
        yield from _by_verdict(self._report)
        yield from _by_program(self._report)
        yield from _by_kernel(self._report)
        yield from _about_the_run(self._report, self._view)


def render(report: Report, view: View) -> str:
    """Returns the report in Prometheus's text format. Raises AuditError if the library is not installed."""
    with needs("prometheus-client", "prometheus"):
        from prometheus_client import CollectorRegistry, generate_latest
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(report, view))
    return generate_latest(registry).decode()
