"""tailcall-audit: does this kernel have the known defects of eBPF tail calls?

    >>> from tailcall_audit import audit
    >>> report = audit(kernels=["6.1.170"], arch="x86_64", only=["freplace-loop"])
    >>> report.targets[0].verdicts[0].state.value
    'affected'

The names in `__all__` are loaded when they are first used: the probes import this package inside a guest, where the
analyzer is not at hand. Nothing here prints or exits; wrong input raises `AuditError`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tailcall_audit.analyzer.catalog.load import load_catalog
    from tailcall_audit.analyzer.catalog.types import Catalog, Defect
    from tailcall_audit.analyzer.errors import AuditError
    from tailcall_audit.analyzer.model import (
        Confidence,
        Evidence,
        Presence,
        Report,
        Rule,
        State,
        TargetReport,
        Verdict,
    )
    from tailcall_audit.analyzer.pipeline import audit
    from tailcall_audit.analyzer.selection import select_defects

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

_MODULES = ("errors", "model", "catalog.types", "catalog.load", "selection", "pipeline")
"""The modules of the analyzer that define these names, the quickest to load first."""


def __getattr__(name: str) -> object:
    """Returns a public name of the analyzer; raises AttributeError for any other."""
    from importlib import import_module

    for module in _MODULES if name in __all__ else ():
        found: object = getattr(import_module(f"tailcall_audit.analyzer.{module}"), name, None)
        if found is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
