"""Writes the tables of the documentation that repeat facts of the catalogue.

A table stands between two markers of a Markdown file, ``<!-- catalog: NAME -->`` and ``<!-- end of catalog -->``; what
is between them is replaced, everything else stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tailcall_audit.analyzer.catalog.check import CatalogError
from tailcall_audit.analyzer.catalog.expression import Expression, leaves
from tailcall_audit.analyzer.catalog.types import ANY_ARCHITECTURE, CAPABILITY_PREFIX, Catalog, Defect

__all__ = ["TABLES", "documents", "with_tables"]

_MARKED = re.compile(r"(<!-- catalog: ([a-z-]+) -->\n).*?(<!-- end of catalog -->)", re.DOTALL)
_OPENING = re.compile(r"<!-- catalog: ([a-z-]+) -->")


def documents(root: Path) -> Iterator[Path]:
    """Yields the Markdown files of a checkout that may have tables."""
    yield from sorted(root.glob("*.md"))
    yield from sorted(root.glob("docs/*.md"))


def with_tables(text: str, catalog: Catalog, name: str) -> str:
    """Returns a document with its tables made anew; raises CatalogError on a marker that names no table or has no end."""
    for opening in _OPENING.finditer(text):
        line = text.count("\n", 0, opening.start()) + 1
        if opening[1] not in TABLES:
            raise CatalogError(
                f"{name}:{line}: there is no table {opening[1]!r}; there are {', '.join(sorted(TABLES))}"
            )
        closed = _MARKED.match(text, opening.start())
        if closed is None or _OPENING.search(text, opening.end(), closed.end()):
            raise CatalogError(f"{name}:{line}: the table has no end: add <!-- end of catalog --> behind it")
    return _MARKED.sub(lambda match: f"{match[1]}{TABLES[match[2]](catalog)}\n{match[3]}", text)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = tuple(head)
    lines = [names, ("---",) * len(names), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _defects(catalog: Catalog) -> str:
    ordered = sorted(catalog.defects, key=lambda defect: defect.pitfall or 99)
    head = ("pitfall", "defect", "what", "code of", "severity", "introduced by", "fixed by", "CVE")
    return _table(
        head,
        (
            (
                str(defect.pitfall or ""),
                f"`{defect.slug}`",
                defect.title,
                ", ".join(defect.architectures) or "all",
                defect.severity,
                _introducing(catalog, defect),
                ", ".join(
                    f"{key} ({catalog.commits[key].first_release})" for key in dict.fromkeys(leaves(defect.fixed))
                )
                or "no fix is known",
                ", ".join(defect.cves),
            )
            for defect in ordered
        ),
    )


def _fixing(catalog: Catalog, defect: Defect) -> str:
    """Returns the commits that take it away, as they are joined, each with its release."""
    if defect.fixed is None:
        return "no fix is known"
    text = str(defect.fixed)
    for key in dict.fromkeys(leaves(defect.fixed)):
        text = text.replace(key, f"{key} ({catalog.commits[key].first_release})")
    return text


def _introducing(catalog: Catalog, defect: Defect) -> str:
    """Returns the commit that made it reachable last, with its release; capabilities by name."""
    fixes = set(leaves(defect.fixed))
    names = [key for key in defect.commits if key not in fixes]
    newest = max(names, key=lambda key: catalog.commits[key].first_release.key)
    needs = [name.removeprefix(CAPABILITY_PREFIX) for name in defect.capabilities]
    return ", ".join([f"{newest} ({catalog.commits[newest].first_release})", *needs])


def _affected_releases(catalog: Catalog) -> str:
    rows = []
    for defect in sorted(catalog.defects, key=lambda defect: defect.pitfall or 99):
        for entry in defect.ranges:
            spans = "; ".join(
                f"{span.start} up to {span.fixed}" if span.fixed else f"from {span.start}" for span in entry.affected
            )
            if spans:
                limit = entry.surveyed_through if entry.branch != "mainline" else None
                rows.append((f"`{defect.slug}`", entry.branch, spans, limit or ""))
    return _table(("defect", "branch", "affected (the second release is fixed)", "surveyed through"), rows)


def _capabilities(catalog: Catalog) -> str:
    rows = []
    for key, capability in catalog.capabilities.items():
        for architecture in capability.sources:
            start = capability.present_from.get(architecture)
            name = "every other" if architecture == ANY_ARCHITECTURE else architecture
            since = str(start) if start is not None else f"not through {capability.absent_through[architecture]}"
            rows.append((f"`{key.removeprefix(CAPABILITY_PREFIX)}`", name, since))
    return _table(("capability", "architecture", "since"), rows)


def _facts(catalog: Catalog) -> str:
    return _table(
        ("fact", "the program meets it when"), ((f"`{name}`", text) for name, text in sorted(catalog.facts.items()))
    )


def _condition(expression: Expression | None) -> str:
    """Returns a condition with each of its facts marked as code."""
    if expression is None:
        return "not said"
    return str(_marked(expression))


def _marked(expression: Expression) -> Expression:
    name = f"`{expression.name}`" if expression.name else ""
    return expression._replace(name=name, parts=tuple(map(_marked, expression.parts)))


def _conditions(catalog: Catalog) -> str:
    ordered = sorted(catalog.defects, key=lambda defect: defect.pitfall or 99)
    return _table(
        ("defect", "programs meet it by"), ((f"`{item.slug}`", _condition(item.exposure)) for item in ordered)
    )


def _refusals(catalog: Catalog) -> str:
    rows = []
    for key, commit in catalog.commits.items():
        for change in commit.changes:
            if change.errno is not None:
                words = f": {change.words}" if change.words else ""
                until = f" (until {change.until})" if change.until else ""
                rows.append((f"`{key}`", f"{_condition(change.refuses)}{until}", f"{change.errno}{words}"))
    return _table(("fix", "refuses programs by", "with"), list(dict.fromkeys(rows)))


def _sources(catalog: Catalog) -> str:
    return _table(("tag", "stands for"), sorted(catalog.sources.items()))


TABLES: dict[str, Callable[[Catalog], str]] = {
    "affected-releases": _affected_releases,
    "capabilities": _capabilities,
    "conditions": _conditions,
    "defects": _defects,
    "facts": _facts,
    "refusals": _refusals,
    "sources": _sources,
}
"""The tables by the names that markers use."""
