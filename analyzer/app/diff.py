"""``tailcall-audit diff``: what changed between two reports."""

from __future__ import annotations

from collections.abc import Sequence

from tailcall_audit.analyzer.app.parser import Parser
from tailcall_audit.analyzer.app.shared import EXIT_AFFECTED, EXIT_CLEAN, add_format_options, emit

__all__ = ["parser", "run"]

_DESCRIPTION = """\
What changed between two reports (--format json or jsonl, of this version or an older one): what got worse, what better, what
is newly known; defects and nodes that only one of them has are listed apart. Nodes are compared where both have them, else
the targets by their names; one target in each is the same one, whatever it is called."""
_EPILOG = """\
exit codes: 0 nothing got worse; 1 something got worse that no waiver accepts (safe -> unknown, safe -> affected,
unknown -> affected, or it cannot be judged any more); 2 a report cannot be read, or they have nothing in common"""
_FORMATS = ("plain", "markdown", "json")


def parser() -> Parser:
    """Returns the parser of ``diff``."""
    found = Parser("tailcall-audit diff", _DESCRIPTION, _EPILOG)
    found.add_argument("old", metavar="OLD", help="the older report")
    found.add_argument("new", metavar="NEW", help="the newer report")
    add_format_options(found, _FORMATS, "plain, markdown, or json (docs/gates.md)")
    found.add_argument("--output", metavar="FILE", help="write it there, all of it or nothing")
    found.add_argument("--debug", action="store_true", help="a traceback on an internal error")
    return found


def run(arguments: Sequence[str]) -> int:
    """Compares two reports and returns the exit code; raises AuditError."""
    from tailcall_audit.analyzer.formats.diff import (
        comparison_as_json,
        render_comparison,
        render_comparison_as_markdown,
    )
    from tailcall_audit.analyzer.gates.compare import compare
    from tailcall_audit.analyzer.gates.stored import read_report

    options = parser().read(arguments)
    found = compare(read_report(options.old), read_report(options.new))
    rendered = {"json": comparison_as_json, "markdown": render_comparison_as_markdown}
    emit(rendered.get(options.format, render_comparison)(found), options.output)
    return EXIT_AFFECTED if found.worse() else EXIT_CLEAN
