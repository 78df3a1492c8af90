"""Renders the catalogue for people, for `list` and `explain`."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.types import (
    CAPABILITY_PREFIX,
    BranchRanges,
    Capability,
    Catalog,
    Defect,
    SeriesFact,
)
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.text import printable_lines

__all__ = ["render_list", "render_story", "stories_as_json"]

_WIDTH = 88


def render_list(catalog: Catalog) -> str:
    """Returns a line for each defect, in the order of pitfalls."""
    ordered = sorted(catalog.defects, key=lambda defect: defect.pitfall or 99)
    table = [("#", "DEFECT", "SEVERITY", "ARCHITECTURES", "TITLE")]
    table += [
        (str(defect.pitfall or ""), defect.slug, defect.severity, ",".join(defect.architectures) or "all", defect.title)
        for defect in ordered
    ]
    return "\n".join(
        [
            *aligned(table),
            "",
            f"{len(ordered)} defects, catalogue of {catalog.date} ({catalog.path})",
            "the whole story of one: tailcall-audit explain SLUG",
            "",
        ]
    )


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{label:13}", subsequent_indent=" " * 13) or [label]


def _commit_lines(commit: Commit) -> list[str]:
    lines = [
        f"  {commit.id}",
        f'    "{commit.subject}"',
        f"    first in {commit.first_release}; {', '.join(commit.files)}",
        f"    source: {commit.source}",
    ]
    if commit.unverified:
        lines.append(f"    unverified: {commit.unverified}")
    for label, entries in (("needs", commit.needs), ("mended by", commit.follow_ups)):
        lines += [f"    {label} {entry.commit}: {entry.why}  [{entry.source}]" for entry in entries]
    if commit.changes:
        lines.append("    what changes for programs:")
    for change in commit.changes:
        lines += textwrap.wrap(
            f"{change}  [{change.source}]", _WIDTH, initial_indent="      - ", subsequent_indent="        "
        )
    for fact in commit.branches.values():
        if fact.backported:
            when = f"since {fact.release}" if fact.release else f"by {fact.present_by}"
            lines.append(
                f"    {fact.branch + '.y':7} {when}{f' as {fact.id[:12]}' if fact.id else ''}  [{fact.source}]"
            )
        else:
            lines.append(
                f"    {fact.branch + '.y':7} absent through {fact.surveyed_through}, later unknown  [{fact.source}]"
            )
        if fact.unverified:
            lines.append(f"            unverified: {fact.unverified}")
    for part in commit.signature:
        seen = "; ".join(text for text in (str(part.examples), part.note) if text)
        lines.append(f"    in source: {part.name} ({', '.join(part.files)}{'; ' if seen else ''}{seen})")
    return lines


def _range_line(entry: BranchRanges) -> str:
    spans = [
        f"{item.start} up to {item.fixed} (fixed)" if item.fixed else f"from {item.start}, no fixed release known"
        for item in entry.affected
    ]
    text = "; ".join(spans) or "not affected"
    if entry.surveyed_through and entry.branch != "mainline":
        text += f" (surveyed through {entry.surveyed_through}; later unknown)"
    return f"  {entry.branch + ('' if entry.branch == 'mainline' else '.y'):9} {text}"


def _story(catalog: Catalog, defect: Defect) -> list[str]:
    lines = _summary(catalog, defect)
    fixes = tuple(dict.fromkeys(leaves(defect.fixed)))
    lines += ["", "introduced"]
    for name in defect.commits:
        if name not in fixes:
            lines += _commit_lines(catalog.commits[name])
    for name in defect.capabilities:
        lines += _capability_lines(name, catalog.capabilities[name])
    lines += ["", "fixed"]
    for name in fixes:
        lines += _commit_lines(catalog.commits[name])
    if not fixes:
        lines.append("  no fix is known")
    lines += ["", "affected releases", *(_range_line(entry) for entry in defect.ranges)]
    series = [_series_line(fact) for fact in catalog.series if fact.commit in defect.commits]
    lines += ["", "distribution series", *series] if series else []
    lines += ["", "disagreements and notes"] if defect.notes else []
    for note in defect.notes:
        lines += textwrap.wrap(note, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
    lines += ["", "references", *(f"  {link}" for link in defect.references)] if defect.references else []
    return lines


def _summary(catalog: Catalog, defect: Defect) -> list[str]:
    """Returns the lines about a defect itself: its name, what it does, and what it needs."""
    number = f"pitfall {defect.pitfall}: " if defect.pitfall else ""
    lines = [f"{number}{defect.slug}", "", *textwrap.wrap(defect.title, _WIDTH), ""]
    lines += _wrapped("mechanism", defect.mechanism) + _wrapped("consequence", defect.consequence)
    lines.append(f"{'severity':13}{defect.severity}")
    lines.append(f"{'code of':13}{', '.join(defect.architectures) or 'all architectures'}")
    lines.append(f"{'config':13}{defect.config}")
    lines += _wrapped("reachable by", str(defect.reachable))
    lines += _wrapped("fixed by", str(defect.fixed) if defect.fixed else "no fix is known")
    if defect.exposure is not None:
        lines += _wrapped("programs", str(defect.exposure))
        for name in dict.fromkeys(leaves(defect.exposure)):
            lines += _wrapped("", f"{name}: {catalog.facts.get(name, 'not known here')}")
    if defect.cves:
        lines.append(f"{'CVE':13}{', '.join(defect.cves)}")
    lines += _wrapped("detected by", defect.detection)
    return lines + (_wrapped("unverified", defect.unverified) if defect.unverified else [])


def _capability_lines(name: str, capability: Capability) -> Iterator[str]:
    yield f"  {name.removeprefix(CAPABILITY_PREFIX)}: {capability.why}"
    for architecture, release in capability.present_from.items():
        yield f"    {architecture} by {release}  [{capability.sources[architecture]}]"


def _series_line(fact: SeriesFact) -> str:
    state, later = "in" if fact.present else "not in", "" if fact.exact or not fact.present else " and later"
    return f"  {fact.distro} {fact.series}: {fact.commit} {state} {fact.start}{later}  [{fact.source}]"


def _legend(catalog: Catalog, text: str) -> list[str]:
    """Returns the meaning of the source tags that a text uses."""
    used = [tag for tag in catalog.sources if re.search(rf"\b{re.escape(tag)}\b", text)]
    return ["", "sources", *(line for tag in used for line in _wrapped(f"  {tag}", catalog.sources[tag]))]


def render_story(catalog: Catalog, defects: tuple[Defect, ...]) -> str:
    """Returns all that is known of one or several defects, and the meaning of the source tags."""
    text = "\n\n\n".join("\n".join(_story(catalog, defect)) for defect in defects)
    lines = [folded for line in [*text.split("\n"), *_legend(catalog, text)] for folded in _folded(line)]
    return printable_lines("\n".join([*lines, ""]))


def _folded(line: str) -> list[str]:
    """Returns a long line broken at blanks, with the continuation indented by four more. Addresses are not broken."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(
        line, _WIDTH + 12, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [""]


def _commit_as_data(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.id,
        "subject": commit.subject,
        "first_release": str(commit.first_release),
        "source": commit.source,
        "unverified": commit.unverified,
        "needs": [entry._asdict() for entry in commit.needs],
        "follow_ups": [entry._asdict() for entry in commit.follow_ups],
        "changes": [
            entry._asdict() | {"refuses": None if entry.refuses is None else str(entry.refuses)}
            for entry in commit.changes
        ],
        "branches": [
            {
                "branch": fact.branch,
                "state": "backported" if fact.backported else "absent",
                "release": None if fact.release is None else str(fact.release),
                "present_by": None if fact.present_by is None else str(fact.present_by),
                "surveyed_through": None if fact.surveyed_through is None else str(fact.surveyed_through),
                "id": fact.id,
                "source": fact.source,
            }
            for fact in commit.branches.values()
        ],
    }


def stories_as_json(catalog: Catalog, defects: Sequence[Defect]) -> str:
    """Returns the defects, each with its commits, as JSON text."""
    data = [
        {
            "defect": defect.slug,
            "pitfall": defect.pitfall,
            "title": defect.title,
            "mechanism": defect.mechanism,
            "consequence": defect.consequence,
            "severity": defect.severity,
            "architectures": list(defect.architectures),
            "config": str(defect.config),
            "reachable": str(defect.reachable),
            "fixed": None if defect.fixed is None else str(defect.fixed),
            "exposure": None if defect.exposure is None else str(defect.exposure),
            "cves": list(defect.cves),
            "references": list(defect.references),
            "notes": list(defect.notes),
            "unverified": defect.unverified,
            "ranges": [
                {
                    "branch": item.branch,
                    "affected": [{"from": span.start, "fixed": span.fixed} for span in item.affected],
                    "surveyed_through": item.surveyed_through,
                }
                for item in defect.ranges
            ],
            "commits": [_commit_as_data(catalog.commits[key]) for key in defect.commits],
        }
        for defect in defects
    ]
    document = {"catalog": {"date": catalog.date, "digest": catalog.digest}, "defects": data}
    return json.dumps(document, indent=2) + "\n"
