"""Reads reports that were written earlier: JSON of every version so far, and JSON lines. Keeps only what a comparison
needs.

Version 1 has each skipped input as a text and repeats every verdict in full. Version 2 has label and reason for a
skipped input. Version 3 stores details that verdicts share once, and adds nodes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.libraries import parse_json
from tailcall_audit.analyzer.model import Report, State
from tailcall_audit.analyzer.text import printable
from tailcall_audit.probes.reading import read_file

__all__ = ["NEWEST", "Answer", "Stored", "StoredKernel", "read_report", "stored"]

NEWEST = 3
_MAX_BYTES = 1 << 28
_RUNNING = " (running)"
"""The mark that a report shows behind the name of the running kernel (`TargetReport.name`)."""


class Answer(NamedTuple):
    """The verdict on a defect: its state, a short reason, and whether a waiver accepts it."""

    state: State
    brief: str
    waived: bool


class StoredKernel(NamedTuple):
    """A kernel of a report: its name, and the answers by defect and architecture ("": all architectures)."""

    name: str
    answers: Mapping[tuple[str, str], Answer]


class Stored(NamedTuple):
    """The parts of a report that a comparison needs. `catalog` is the date of its catalogue ("": not known). `skipped`
    maps inputs that could not be judged to the reason. `nodes` maps each node to the index of its kernel in `kernels`;
    without nodes the kernels are compared.
    """

    name: str
    catalog: str
    kernels: tuple[StoredKernel, ...]
    skipped: Mapping[str, str]
    nodes: Mapping[str, int]

    @property
    def defects(self) -> frozenset[str]:
        """The slugs of all defects that were looked for."""
        return frozenset(slug for kernel in self.kernels for slug, _ in kernel.answers)

    @property
    def units(self) -> dict[str, int]:
        """The units that are compared, by name, with the index of their kernel: nodes, or kernels if there are no
        nodes. If a name occurs again, a number is added.
        """
        if self.nodes:
            return dict(self.nodes)
        found: dict[str, int] = {}
        seen: dict[str, int] = {}
        for place, kernel in enumerate(self.kernels):
            number = seen[kernel.name] = seen.get(kernel.name, 0) + 1
            found[kernel.name if number == 1 else f"{kernel.name} ({number})"] = place
        return found


def _answers(items: Iterable[tuple[str, Sequence[str], Answer]]) -> dict[tuple[str, str], Answer]:
    return {(slug, name): answer for slug, names, answer in items for name in (names or ("",))}


def stored(report: Report, name: str = "this audit") -> Stored:
    """Returns a report of this run in the form for a comparison."""
    kernels = tuple(
        StoredKernel(
            printable(target.label),
            _answers(
                (item.defect.slug, item.architectures, Answer(item.state, item.brief, item.waived))
                for item in target.verdicts
            ),
        )
        for target in report.targets
    )
    skipped = {printable(item.label): printable(item.reason) for item in report.skipped}
    skipped |= {printable(node.name): printable(node.skipped) for node in report.nodes if node.skipped is not None}
    nodes = {printable(node.name): node.kernel for node in report.nodes if node.kernel is not None}
    return Stored(name, report.catalog.date, kernels, skipped, nodes)


def _verdict(item: Mapping[str, Any], details: Sequence[Any]) -> tuple[str, Sequence[str], Answer]:
    detail = details[item["detail"]] if isinstance(item.get("detail"), int) else item
    waiver = detail.get("waiver")
    waived = waiver is not None and not waiver["expired"]
    answer = Answer(State(item["verdict"]), printable(str(detail["brief"])), waived)
    return str(item["defect"]), [str(name) for name in item["architectures"]], answer


def _kernel(item: Mapping[str, Any], details: Sequence[Any]) -> StoredKernel:
    # A report has the name that a reader sees. The kernel is the same one after a reboot into another.
    name = printable(str(item["name"]).removesuffix(_RUNNING))
    return StoredKernel(name, _answers(_verdict(verdict, details) for verdict in item["verdicts"]))


def _skipped(items: Iterable[Any]) -> dict[str, str]:
    """Returns the reasons by label. In version 1 each is one text that begins with the name of the input."""
    found = {}
    for item in items:
        label, reason = (
            (item.partition(": ")[0].strip("'"), item) if isinstance(item, str) else (item["label"], item["reason"])
        )
        found[printable(label)] = printable(reason)
    return found


def _of_document(name: str, data: Mapping[str, Any]) -> Stored:
    details = data.get("details", ())
    kernels = tuple(_kernel(item, details) for item in data["targets"])
    nodes, unread = {}, {}
    for node in data.get("nodes", ()):
        label = printable(str(node["name"]))
        if node.get("kernel") is None:
            unread[label] = printable(str(node["skipped"]))
        else:
            nodes[label] = int(node["kernel"])
    return Stored(name, str(data["catalog"]["date"]), kernels, _skipped(data.get("skipped", ())) | unread, nodes)


def _of_lines(name: str, lines: Iterable[Mapping[str, Any]]) -> Stored:
    kernels: list[StoredKernel] = []
    places: dict[str, int] = {}
    nodes: dict[str, int] = {}
    skipped: dict[str, str] = {}
    for item in lines:
        label = printable(str(item.get("name", item.get("label", ""))))
        if item["type"] == "kernel":
            places[item["id"]] = len(kernels)
            kernels.append(_kernel({"name": item["id"], **item}, ()))
        elif "kernel" in item:
            nodes[label] = places[item["kernel"]]
        else:
            skipped[label] = printable(str(item.get("skipped", item.get("reason", ""))))
    return Stored(name, "", tuple(kernels), skipped, nodes)


def _is_lines(text: str) -> bool:
    first = text.lstrip().partition("\n")[0]
    return first.startswith('{"type"') and first.rstrip().endswith("}")


def read_report(path: str) -> Stored:
    """Returns a report that ``--format json`` or ``jsonl`` wrote, in this version or an older one. Raises AuditError if
    it cannot be read.
    """
    name = os.path.expanduser(path)
    try:
        data = read_file(Path(name), _MAX_BYTES)
    except OSError as error:
        raise AuditError(f"{name}: cannot read the report: {error.strerror or error}") from error
    try:
        text = data.decode()
        if _is_lines(text):
            return _of_lines(name, map(json.loads, text.splitlines()))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise AuditError(f"{name}: no report in JSON lines: {printable(str(error), 200)}") from error
    document = parse_json(data, lambda place, why: AuditError(f"{name}{place}: no report: {printable(why, 200)}"))
    version = document.get("schema_version") if isinstance(document, dict) else None
    if not isinstance(document, dict) or type(version) is not int:
        raise AuditError(f"{name}: no report of tailcall-audit: write one with --format json --output FILE")
    if not 1 <= version <= NEWEST:
        raise AuditError(
            f"{name}: schema_version {version}: this version reads 1 to {NEWEST}; use the newer tailcall-audit"
        )
    try:
        found = _of_document(name, document)
        _ = [found.kernels[place] for place in found.nodes.values()]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise AuditError(f"{name}: a broken report of version {version}: {printable(repr(error), 200)}") from error
    return found
