"""What to update a package to, as text and as JSON (`series.schema.json`, described in docs/plan.md)."""

from __future__ import annotations

import json
from pathlib import Path

from tailcall_audit import __version__
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.plan.types import FirstWithout, SeriesPlan
from tailcall_audit.analyzer.text import printable

__all__ = ["render_series", "series_as_json", "series_schema_path"]

_COLUMNS = ("SERIES", "AFFECTED", "DEFECT", "FIRST WITHOUT", "FIXED BY")


def series_schema_path() -> Path:
    """Returns the JSON Schema of the plan for a package."""
    return Path(__file__).with_name("series.schema.json")


def _cells(item: FirstWithout) -> tuple[str, ...]:
    by = ", ".join(item.fixed_by) or ("see below" if item.version is None else item.reason)
    return tuple(
        printable(cell) for cell in (item.series, item.affected, item.defect, item.version or "none known", by)
    )


def render_series(plan: SeriesPlan) -> str:
    """Returns the plan as text."""
    out = [printable(plan.name), ""]
    if plan.items:
        out += [*aligned([_COLUMNS, *map(_cells, plan.items)]), ""]
    else:
        out.append("nothing to mend")
    out += [
        printable(f"{item.defect}: no version without it is known to the {item.known_from.value}; {item.reason}")
        for item in plan.items
        if item.version is None
    ]
    for left in plan.unknown:
        out.append(printable(f"unknown: {left.slug}: {left.reason}"))
        out += [printable(f"  to settle: {left.settle}")] if left.settle else []
    out += [printable(f"note: {note}") for note in plan.notes]
    return "\n".join([*out, ""])


def series_as_json(plan: SeriesPlan, catalog: Catalog) -> str:
    """Returns the plan as JSON text; everything beyond ASCII is escaped."""
    data = {
        "schema_version": 1,
        "tool_version": __version__,
        "catalog": {"date": catalog.date, "digest": catalog.digest, "path": catalog.path},
        "target": plan.name,
        "series": [
            {
                "series": item.series,
                "affected": item.affected,
                "defect": item.defect,
                "first_without": item.version,
                "fixed_by": list(item.fixed_by),
                "reason": item.reason,
                "known_from": item.known_from.value,
            }
            for item in plan.items
        ],
        "unknown": [{"defect": item.slug, "reason": item.reason, "settle": item.settle} for item in plan.unknown],
        "notes": list(plan.notes),
    }
    return json.dumps(data, indent=2) + "\n"
