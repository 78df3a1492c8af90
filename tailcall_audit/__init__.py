"""tailcall-audit: does this kernel have the known defects of eBPF tail calls?

    >>> from tailcall_audit import audit
    >>> report = audit(kernels=["6.1.170"], arch="x86_64", only=["freplace-loop"])
    >>> report.targets[0].verdicts[0].state.value
    'affected'

The names in `__all__` are those of `tailcall_audit.analyzer`. They are loaded when they are first used: the probes import
this package inside a guest, where the analyzer is not at hand.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tailcall_audit.analyzer import (
        AuditError,
        Catalog,
        Confidence,
        Defect,
        Evidence,
        Presence,
        Report,
        Rule,
        State,
        TargetReport,
        Verdict,
        load_catalog,
        select_defects,
    )
    from tailcall_audit.analyzer.pipeline import audit

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


def __getattr__(name: str) -> object:
    """Return a public name of the analyzer; raises AttributeError for any other."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tailcall_audit import analyzer

    return getattr(analyzer, name)
