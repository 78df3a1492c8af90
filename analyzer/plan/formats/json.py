"""A plan as JSON. Its frame is a contract: `plan.schema.json`, described in docs/plan.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tailcall_audit import __version__
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.plan.types import Left, Plan, Step

__all__ = ["SCHEMA_VERSION", "plan_as_data", "plan_schema_path", "render"]

SCHEMA_VERSION = 1


def plan_schema_path() -> Path:
    """Returns the JSON Schema of a plan."""
    return Path(__file__).with_name("plan.schema.json")


def _step(step: Step) -> dict[str, Any]:
    return {
        "commit": step.commit,
        "upstream": step.upstream,
        "subject": step.subject,
        "source": step.source,
        "role": step.role.value,
        "defects": list(step.defects),
        "cves": list(step.cves),
        "needed_by": list(step.needed_by),
        "follows": list(step.follows),
        "outcome": step.outcome.value,
        "conflicts": [conflict.path for conflict in step.conflicts],
        "conflict_functions": {conflict.path: list(conflict.functions) for conflict in step.conflicts},
        "lacks": list(step.lacks),
        "changes": list(step.changes),
        "notes": list(step.notes),
        "fetch": step.fetch,
    }


def _left(item: Left) -> dict[str, str | None]:
    return {"defect": item.slug, "reason": item.reason, "settle": item.settle}


def plan_as_data(plan: Plan, catalog: Catalog) -> dict[str, Any]:
    """Returns the plan as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tool_version": __version__,
        "catalog": {"date": catalog.date, "digest": catalog.digest, "path": catalog.path},
        "target": {"name": plan.name, "identity": dict(plan.identity)},
        "affected": list(plan.affected),
        "unknown": [_left(item) for item in plan.unknown],
        "steps": [_step(step) for step in plan.steps],
        "result": {
            "tested": plan.result.tested,
            "fixed": list(plan.result.fixed),
            "open": [item.slug for item in plan.result.open],
            "reasons": [_left(item) for item in plan.result.open],
            "tree": plan.result.tree,
        },
        "notes": list(plan.notes),
    }


def render(plan: Plan, catalog: Catalog) -> str:
    """Returns the plan as JSON text; everything beyond ASCII is escaped, so no terminal acts on it."""
    return json.dumps(plan_as_data(plan, catalog), indent=2) + "\n"
