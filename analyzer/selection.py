"""What an audit is asked for by name: defects, an architecture, a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.architecture import UnknownArchitectureError, normalize_architecture
from tailcall_audit.analyzer.catalog.types import SEVERITIES, Catalog, Defect
from tailcall_audit.analyzer.errors import did_you_mean
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig, read_config
from tailcall_audit.analyzer.model import (
    UnknownDefectError,
    UsageError,
)

if TYPE_CHECKING:
    from pathlib import Path


__all__ = ["given_config", "named_architecture", "select_defects"]


def select_defects(
    catalog: Catalog, only: Iterable[str] = (), pitfalls: bool = False, severity: str | None = None
) -> tuple[Defect, ...]:
    """Returns the defects with the given slugs or pitfall numbers, or all that have a pitfall number, or all.
    `severity` keeps those of this severity and above. Raises AuditError for an unknown name, or if no defect is left.
    """
    found = _named_defects(catalog, only, pitfalls)
    if severity is None:
        return found
    if severity not in SEVERITIES:
        raise UsageError(
            f"{{severity}}: {severity!r} is none of {', '.join(SEVERITIES)}{did_you_mean(severity, SEVERITIES)}"
        )
    severe = tuple(item for item in found if SEVERITIES.index(item.severity) >= SEVERITIES.index(severity))
    if not severe:
        raise UsageError(f"{{severity}}: no defect that is asked for is of severity {severity} or above")
    return severe


def _named_defects(catalog: Catalog, only: Iterable[str], pitfalls: bool) -> tuple[Defect, ...]:
    names = [name.strip() for name in only]
    if not names:
        return tuple(defect for defect in catalog.defects if not pitfalls or defect.pitfall is not None)
    found: dict[str, Defect] = {}
    for name in names:
        matches = catalog.find(name)
        if not matches:
            raise UnknownDefectError(name, [defect.slug for defect in catalog.defects])
        found.update((defect.slug, defect) for defect in matches)
    return tuple(found.values())


def given_config(path: str | Path | None, catalog: Catalog | None = None) -> KernelConfig | None:
    """Returns the configuration in a file, identified with `catalog` (None: the shipped one). Raises ConfigError."""
    if path is None:
        return None
    from tailcall_audit.analyzer.paths import expanded

    return read_config(expanded(path), catalog)


def named_architecture(name: str | None) -> str | None:
    """Returns the normalised name of the requested architecture. Raises UsageError if it is not known."""
    if name is None:
        return None
    try:
        return normalize_architecture(name)
    except UnknownArchitectureError as error:
        raise UsageError(f"{{arch}}: {error}") from error
