"""Renders a report as lines of JSON, for programs that read it as a stream: one for each kernel, then one for each node
and each input that could not be judged.

The line of a kernel contains all of its verdicts. `id` is derived from the kernel's identity, so that it is the same in
every report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from tailcall_audit.analyzer.formats.json_text import Texts, compact
from tailcall_audit.analyzer.formats.registry import View
from tailcall_audit.analyzer.model import Report, TargetReport

__all__ = ["kernel_id", "pieces", "render"]

_PLACES = frozenset(("config", "image", "root", "changelog"))
"""The parts of an identity that say where something was read. They do not identify the kernel."""


def kernel_id(target: TargetReport) -> str:
    """Returns a short id of a kernel, 16 hex digits. It does not depend on where the kernel was read, and differs
    between builds.
    """
    identity = {key: value for key, value in target.identity.items() if value is not None and key not in _PLACES}
    return hashlib.sha256(json.dumps([target.kind.value, identity], sort_keys=True).encode()).hexdigest()[:16]


def _kernel(target: TargetReport, texts: Texts) -> str:
    known = {
        "type": "kernel",
        "id": kernel_id(target),
        "name": target.name,
        "kind": target.kind.value,
        "identity": dict(target.identity),
        "notes": list(target.notes),
    }
    return f'{compact(known)[:-1]},"verdicts":[{",".join(map(texts.whole, target.verdicts))}]}}\n'


def pieces(report: Report, _: View) -> Iterator[str]:
    """Yields the lines of the report."""
    texts = Texts(report.catalog)
    for target in report.targets:
        yield _kernel(target, texts)
    identities = [kernel_id(target) for target in report.targets]
    for node in report.nodes:
        known = {"skipped": node.skipped} if node.kernel is None else {"kernel": identities[node.kernel]}
        yield compact({"type": "node", "name": node.name, **known}) + "\n"
    for item in report.skipped:
        yield compact({"type": "skipped", "label": item.label, "reason": item.reason}) + "\n"


def render(report: Report, view: View) -> str:
    """Returns the report as one text."""
    return "".join(pieces(report, view))
