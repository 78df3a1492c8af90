"""Renders the settings of a call as text and as JSON: the value of each and its origin, and the waivers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.gates.settings import Value
from tailcall_audit.analyzer.model import Waiver
from tailcall_audit.analyzer.text import printable

__all__ = ["render_settings", "settings_as_json"]


def render_settings(values: Iterable[Value], waivers: Sequence[Waiver], ignored: Iterable[str]) -> str:
    """Returns a line for each setting and each waiver. `ignored` are environment variables that match no setting."""
    rows = [[item.name, "-" if item.value is None else item.value, item.origin] for item in values]
    lines = aligned([["SETTING", "VALUE", "FROM"], *([printable(cell) for cell in row] for row in rows)])
    if waivers:
        table = [
            [item.defect, item.kernel, item.until + (" expired" if item.expired else ""), item.who, item.source]
            for item in waivers
        ]
        lines += [
            "",
            *aligned(
                [["WAIVER", "KERNEL", "UNTIL", "WHO", "FROM"], *([printable(cell) for cell in row] for row in table)]
            ),
        ]
    lines += [printable(f"no setting, and ignored: {name}") for name in ignored]
    return "\n".join([*lines, ""])


def settings_as_json(values: Iterable[Value], waivers: Sequence[Waiver], ignored: Iterable[str]) -> str:
    """Returns the settings and waivers as JSON text."""
    document = {
        "settings": {item.name: {"value": item.value, "from": item.origin} for item in values},
        "waivers": [item._asdict() for item in waivers],
        "ignored": list(ignored),
    }
    return json.dumps(document, indent=2) + "\n"
