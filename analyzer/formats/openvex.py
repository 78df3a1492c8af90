"""Renders a report as OpenVEX 0.2.0: one statement for each verdict. Unknown becomes ``under_investigation``. A waived
defect stays ``affected``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tailcall_audit import __version__
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.formats.kernel import Product, Subject, products, subjects
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

_CONTEXT = "https://openvex.dev/ns/v0.2.0"
_AUTHOR = "tailcall-audit (no publisher is set)"


def _product(item: Product) -> dict[str, Any]:
    cpe = {} if item.cpe is None else {"cpe23": item.cpe}
    return {"@id": item.purl, "identifiers": {"purl": item.purl, **cpe}}


def _statement(subject: Subject, verdict: Verdict, names: Mapping[str, Name], catalog: Catalog) -> dict[str, Any]:
    name, status = names[verdict.defect.slug], status_of(verdict)
    found: dict[str, Any] = {
        "vulnerability": {
            "name": name.name,
            "description": printable(f"{verdict.defect.title}. {verdict.defect.consequence}"),
            **({"aliases": list(name.aliases)} if name.aliases else {}),
        },
        "products": [_product(item) for item in products(subject, verdict)],
        "status": status.value,
        "status_notes": printable(f"{subject.title}: {notes_of(verdict)}"),
    }
    if status is Status.AFFECTED:
        found["action_statement"] = remedy_of(verdict, catalog)
    if status is Status.NOT_AFFECTED:
        justification = justification_of(verdict)
        if justification is not None:
            found["justification"] = justification.value
        found["impact_statement"] = printable(verdict.reason)
    return found


def render(report: Report, view: View) -> str:
    """Returns the report as OpenVEX. The document's id is derived from its statements, so that equal statements have
    the same id.
    """
    names = names_of(report.catalog)
    statements = [
        _statement(subject, verdict, names, report.catalog)
        for subject in subjects(report)
        for verdict in subject.target.verdicts
    ]
    digest = hashlib.sha256(json.dumps(statements).encode()).hexdigest()
    home = view.namespace.rstrip("/") or "https://openvex.dev/docs/public"
    document = {
        "@context": _CONTEXT,
        "@id": f"{home}/vex-{digest}",
        "author": view.publisher or _AUTHOR,
        "role": "Document Creator",
        "timestamp": datetime.fromtimestamp(view.made, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "version": 1,
        "tooling": f"tailcall-audit {__version__}, catalogue of {report.catalog.date}",
        "statements": statements,
    }
    return json.dumps(document, indent=2) + "\n"
