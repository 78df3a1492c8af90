"""Renders a report as CycloneDX 1.6 with VEX, by cyclonedx-python-lib: one component for each kernel, one vulnerability
for each verdict.

Unknown becomes ``in_triage``. A waived defect stays ``exploitable``; the detail of its analysis contains the waiver.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from tailcall_audit import __version__
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.formats.extra import needs
from tailcall_audit.analyzer.formats.kernel import Product, Subject, fingerprint, products, subjects
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.formats.status import (
    Justification,
    Name,
    Status,
    justification_of,
    names_of,
    notes_of,
    remedy_of,
    status_of,
)
from tailcall_audit.analyzer.model import Report, Verdict
from tailcall_audit.analyzer.text import printable

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.vulnerability import Vulnerability, VulnerabilityAnalysis

__all__ = ["render"]


def _component(item: Product, subject: Subject) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    nodes = [Property(name="tailcall-audit:nodes", value=str(len(subject.nodes)))] if subject.nodes else []
    return Component(
        name="linux",
        version=subject.kernel.version,
        type=ComponentType.OPERATING_SYSTEM,
        bom_ref=item.id,
        description=item.title,
        purl=PackageURL.from_string(item.purl),
        cpe=item.cpe,
        properties=nodes,
    )


def _analysis(verdict: Verdict, catalog: Catalog) -> VulnerabilityAnalysis:
    from cyclonedx.model.impact_analysis import ImpactAnalysisJustification as Why
    from cyclonedx.model.impact_analysis import ImpactAnalysisState as What
    from cyclonedx.model.vulnerability import VulnerabilityAnalysis

    states = {
        Status.AFFECTED: What.EXPLOITABLE,
        Status.FIXED: What.RESOLVED,
        Status.NOT_AFFECTED: What.NOT_AFFECTED,
        Status.UNDER_INVESTIGATION: What.IN_TRIAGE,
    }
    reasons = {
        Justification.CODE_NOT_PRESENT: Why.CODE_NOT_PRESENT,
        Justification.NOT_IN_EXECUTE_PATH: Why.CODE_NOT_REACHABLE,
    }
    status, reason = status_of(verdict), justification_of(verdict)
    words = notes_of(verdict)
    if status is Status.AFFECTED:
        words = f"{words}. {remedy_of(verdict, catalog)}"
    return VulnerabilityAnalysis(
        state=states[status], justification=None if reason is None else reasons[reason], detail=words
    )


def _vulnerability(subject: Subject, verdict: Verdict, name: Name, catalog: Catalog) -> Vulnerability:
    from cyclonedx.model import XsUri
    from cyclonedx.model.vulnerability import (
        BomTarget,
        Vulnerability,
        VulnerabilityRating,
        VulnerabilityReference,
        VulnerabilitySeverity,
        VulnerabilitySource,
    )

    defect = verdict.defect
    source = VulnerabilitySource(name="NVD" if name.cve else "tailcall-audit")
    if name.cve:
        source.url = XsUri(f"https://nvd.nist.gov/vuln/detail/{name.cve}")
    references = [
        VulnerabilityReference(id=alias, source=VulnerabilitySource(name="tailcall-audit")) for alias in name.aliases
    ]
    return Vulnerability(
        bom_ref=f"{defect.slug}:{fingerprint(subject.target, verdict)[:16]}:{subject.kernel.name}",
        id=name.name,
        source=source,
        references=references,
        ratings=[VulnerabilityRating(severity=VulnerabilitySeverity(defect.severity))],
        description=printable(f"{defect.title}. {defect.consequence}"),
        analysis=_analysis(verdict, catalog),
        affects=[BomTarget(ref=item.id) for item in products(subject, verdict)],
    )


def _document(report: Report, view: View) -> Bom:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.contact import OrganizationalEntity

    document = Bom()
    document.metadata.timestamp = datetime.fromtimestamp(view.made, UTC)
    document.metadata.tools.components.add(
        Component(name="tailcall-audit", version=__version__, type=ComponentType.APPLICATION)
    )
    if view.publisher:
        document.metadata.supplier = OrganizationalEntity(name=view.publisher)
    names = names_of(report.catalog)
    seen: set[str] = set()
    for subject in subjects(report):
        for verdict in subject.target.verdicts:
            for item in products(subject, verdict):
                if item.id not in seen:
                    seen.add(item.id)
                    document.components.add(_component(item, subject))
            name = names[verdict.defect.slug]
            document.vulnerabilities.add(_vulnerability(subject, verdict, name, report.catalog))
    return document


def render(report: Report, view: View) -> str:
    """Returns the report as CycloneDX JSON. Raises AuditError if the library is not installed."""
    with needs("cyclonedx-python-lib", "cyclonedx"):
        from cyclonedx.output.json import JsonV1Dot6
    document = _document(report, view)
    seed = "|".join(sorted(str(item.bom_ref) for item in document.vulnerabilities))
    document.serial_number = uuid5(NAMESPACE_URL, f"tailcall-audit|{report.catalog.digest}|{seed}|{view.made}")
    return str(JsonV1Dot6(document).output_as_string(indent=2)) + "\n"
