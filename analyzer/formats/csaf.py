"""Renders a report as CSAF 2.0 (OASIS), profile VEX: one vulnerability for each defect, with the kernels grouped by
status.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tailcall_audit import __version__
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.formats.kernel import Product, products, subjects
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.formats.status import (
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

__all__ = ["render"]

_STATUS = {
    Status.AFFECTED: "known_affected",
    Status.FIXED: "fixed",
    Status.NOT_AFFECTED: "known_not_affected",
    Status.UNDER_INVESTIGATION: "under_investigation",
}
_NAMESPACE = "urn:tailcall-audit:no-publisher-is-set"


class _Said(NamedTuple):
    """The verdict on one defect in one product."""

    product: Product
    verdict: Verdict


def _product(item: Product) -> dict[str, Any]:
    helper = {"purl": item.purl, **({"cpe": item.cpe} if item.cpe else {})}
    return {"product_id": item.id, "name": item.title, "product_identification_helper": helper}


def _remediations(items: list[_Said], catalog: Catalog) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], list[str]] = {}
    for item in items:
        if status_of(item.verdict) is Status.AFFECTED:
            category = "vendor_fix" if item.verdict.defect.fixed is not None else "none_available"
            found.setdefault((category, remedy_of(item.verdict, catalog)), []).append(item.product.id)
    return [
        {"category": category, "details": details, "product_ids": ids} for (category, details), ids in found.items()
    ]


def _flags(items: list[_Said]) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for item in items:
        justification = justification_of(item.verdict)
        if justification is not None:
            found.setdefault(justification.value, []).append(item.product.id)
    return [{"label": label, "product_ids": ids} for label, ids in found.items()]


def _impacts(items: list[_Said]) -> list[dict[str, Any]]:
    """Returns the reason for each product's status. CSAF allows only one impact for a product."""
    found: dict[str, list[str]] = {}
    for item in items:
        found.setdefault(notes_of(item.verdict), []).append(item.product.id)
    return [{"category": "impact", "details": details, "product_ids": ids} for details, ids in found.items()]


def _vulnerability(defect: Defect, name: Name, items: list[_Said], catalog: Catalog) -> dict[str, Any]:
    statuses: dict[str, list[str]] = {}
    for item in items:
        statuses.setdefault(_STATUS[status_of(item.verdict)], []).append(item.product.id)
    found: dict[str, Any] = {
        **({"cve": name.cve} if name.cve else {}),
        "ids": [{"system_name": "tailcall-audit", "text": defect.slug}],
        "title": printable(defect.title),
        "notes": [
            {"category": "description", "title": "defect", "text": printable(f"{defect.title}. {defect.mechanism}")},
            {"category": "details", "title": "consequence", "text": printable(defect.consequence)},
        ],
        "product_status": statuses,
        "threats": _impacts(items),
    }
    for key, value in (("remediations", _remediations(items, catalog)), ("flags", _flags(items))):
        if value:
            found[key] = value
    return found


def _nodes(report: Report) -> list[dict[str, str]]:
    """Returns a note with the number of nodes that run each kernel. Their names are not for a document that is passed
    on.
    """
    titles = [printable(subject.title) for subject in subjects(report) if subject.nodes]
    return [{"category": "details", "title": "nodes", "text": "; ".join(titles)}] if titles else []


def _document(report: Report, view: View, digest: str) -> dict[str, Any]:
    made = datetime.fromtimestamp(view.made, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = bool(view.publisher and view.namespace)
    return {
        "category": "csaf_vex",
        "csaf_version": "2.0",
        "lang": "en",
        "title": "Known defects of eBPF tail calls in Linux kernels",
        "publisher": {
            "category": "user",
            "name": view.publisher or "no publisher is set",
            "namespace": view.namespace or _NAMESPACE,
        },
        "tracking": {
            "id": f"tailcall-audit-{digest[:16]}",
            "status": "final" if named else "draft",
            "version": "1" if named else "0",
            "initial_release_date": made,
            "current_release_date": made,
            "revision_history": [{"date": made, "number": "1" if named else "0", "summary": "audited"}],
            "generator": {"date": made, "engine": {"name": "tailcall-audit", "version": __version__}},
        },
        "notes": [
            {
                "category": "general",
                "title": "origin",
                "text": f"Made by tailcall-audit {__version__} with its catalogue of {report.catalog.date}"
                f" (SHA-256 {report.catalog.digest}).",
            },
            *_nodes(report),
        ],
    }


def render(report: Report, view: View) -> str:
    """Returns the report as CSAF. Without a publisher the document is a draft, because CSAF requires its issuer."""
    names = names_of(report.catalog)
    known: dict[str, Product] = {}
    said: dict[str, list[_Said]] = {}
    defects: dict[str, Defect] = {}
    for subject in subjects(report):
        for verdict in subject.target.verdicts:
            defects[verdict.defect.slug] = verdict.defect
            for product in products(subject, verdict):
                known[product.id] = product
                said.setdefault(verdict.defect.slug, []).append(_Said(product, verdict))
    vulnerabilities = [
        _vulnerability(defects[slug], names[slug], items, report.catalog) for slug, items in said.items()
    ]
    digest = hashlib.sha256(json.dumps(vulnerabilities).encode()).hexdigest()
    document = {
        "document": _document(report, view, digest),
        "product_tree": {"full_product_names": [_product(item) for item in known.values()]},
        "vulnerabilities": vulnerabilities,
    }
    return json.dumps(document, indent=2) + "\n"
