"""tailcall-audit: does this kernel have the known defects of eBPF tail calls?

    >>> from analyzer import audit
    >>> report = audit(kernels=["6.1.170"], arch="x86_64", only=["freplace-loop"])
    >>> report.targets[0].verdicts[0].state.value
    'affected'

Nothing here prints or exits; wrong input raises `AuditError`.
"""

from analyzer.audit import audit, select_defects
from analyzer.catalog import Catalog, Defect
from analyzer.catalog_file import load_catalog
from analyzer.model import AuditError, Confidence, Evidence, Presence, Report, Rule, State, TargetReport, Verdict

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

__version__ = "0.1.0"
