"""``tailcall-audit explain``: the whole story of a defect."""

from __future__ import annotations

from collections.abc import Sequence

from tailcall_audit.analyzer.app.parser import Parser
from tailcall_audit.analyzer.app.settings import fill
from tailcall_audit.analyzer.app.shared import EXIT_CLEAN, FORMATS, add_catalog_options, add_format_options, emit, load
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.model import UnknownDefectError

__all__ = ["parser", "run"]

_SHORTEST_ID = 12


def parser() -> Parser:
    """Returns the parser of ``explain``."""
    found = Parser("tailcall-audit explain", "The whole story of a defect: mechanism, commits, backports, sources.")
    found.add_argument(
        "name",
        metavar="SLUG|NUMBER|COMMIT",
        help="a slug, a pitfall number from 1 to 6, or a commit id of 12 or more digits",
    )
    add_format_options(found, FORMATS, "plain, or json")
    found.add_argument("--output", metavar="FILE", help="write it there")
    add_catalog_options(found)
    return found


def _same_commit(known: str, given: str) -> bool:
    """Returns True if two ids, of which either may be abbreviated, name one commit."""
    return known.startswith(given.lower()) or given.lower().startswith(known)


def _find(catalog: Catalog, name: str) -> tuple[Defect, ...]:
    """Returns the defects of a slug, a pitfall number or a commit; raises AuditError if there is none."""
    found = catalog.find(name.strip())
    if not found and len(name) >= _SHORTEST_ID:
        found = tuple(
            defect
            for defect in catalog.defects
            if any(_same_commit(catalog.commits[key].id, name) for key in defect.commits)
        )
    if not found:
        raise UnknownDefectError(name, [defect.slug for defect in catalog.defects])
    return found


def run(arguments: Sequence[str]) -> int:
    """Prints the story and returns the exit code; raises AuditError."""
    from tailcall_audit.analyzer.formats.story import render_story, stories_as_json

    options = parser().read(arguments)
    fill(options, ["catalog"])
    catalog = load(options.catalog)
    defects = _find(catalog, options.name)
    emit(
        stories_as_json(catalog, defects) if options.format == "json" else render_story(catalog, defects),
        options.output,
    )
    return EXIT_CLEAN
