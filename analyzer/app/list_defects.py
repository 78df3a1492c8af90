"""``tailcall-audit list``: the defects of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

from tailcall_audit.analyzer.app.parser import Parser
from tailcall_audit.analyzer.app.settings import fill
from tailcall_audit.analyzer.app.shared import EXIT_CLEAN, FORMATS, add_catalog_options, add_format_options, emit, load

__all__ = ["parser", "run"]


def parser() -> Parser:
    """Returns the parser of ``list``."""
    found = Parser("tailcall-audit list", "The defects of the catalogue, a line each.")
    add_format_options(found, FORMATS, "plain, or json")
    found.add_argument("--output", metavar="FILE", help="write it there")
    add_catalog_options(found)
    return found


def run(arguments: Sequence[str]) -> int:
    """Prints the defects and returns the exit code; raises AuditError."""
    from tailcall_audit.analyzer.formats.story import render_list, stories_as_json

    options = parser().read(arguments)
    fill(options, ["catalog"])
    catalog = load(options.catalog)
    text = stories_as_json(catalog, catalog.defects) if options.format == "json" else render_list(catalog)
    emit(text, options.output)
    return EXIT_CLEAN
