"""tailcall-audit: does this kernel have the known defects of eBPF tail calls?

    >>> from tailcall_audit import audit
    >>> report = audit(kernels=["6.1.170"], arch="x86_64", only=["freplace-loop"])
    >>> report.targets[0].verdicts[0].state.value
    'affected'

Nothing here prints or exits; wrong input raises `AuditError`.
"""

from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.model import (
    AuditError,
    Confidence,
    Evidence,
    Presence,
    Report,
    Rule,
    State,
    TargetReport,
    Verdict,
)
from tailcall_audit.analyzer.pipeline import audit, select_defects

__all__ = [
    "AuditError",
    "Catalog",
    "Confidence",
    "Defect",
    "Evidence",
    "Presence",
    "Report",
    "Rule",
    "State",
    "TargetReport",
    "Verdict",
    "audit",
    "load_catalog",
    "select_defects",
]
