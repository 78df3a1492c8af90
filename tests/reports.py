"""The report as JSON, with what its verdicts share put into each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def whole_verdicts(data: Mapping[str, Any], target: int = 0) -> list[dict[str, Any]]:
    """Returns the verdicts on a target, each with its detail, its evidence and its defect's own fields."""
    found = []
    for item in data["targets"][target]["verdicts"]:
        if "detail" not in item:
            found.append(item)
            continue
        detail = dict(data["details"][item["detail"]])
        detail["evidence"] = [data["evidence"][number] for number in detail["evidence"]]
        found.append({**data["defects"][item["defect"]], **item, **detail})
    return found
