"""``tailcall-audit lab``: many kernels in guests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tailcall_audit.analyzer.app.gating import GATE_SETTINGS, add_gate_options, conclude, gate_of
from tailcall_audit.analyzer.app.parser import Parser
from tailcall_audit.analyzer.app.settings import fill
from tailcall_audit.analyzer.app.shared import (
    add_catalog_options,
    add_choice_options,
    add_format_options,
    add_guest_options,
    check_guest_python,
    emit,
    load_with_surveys,
    make_guests,
    names,
    now,
    positive,
)
from tailcall_audit.analyzer.app.streams import say
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.formats.registry import FormatNames, View, find_format
from tailcall_audit.analyzer.gates.gate import Outcome, gated_report
from tailcall_audit.analyzer.gates.words import severity_of
from tailcall_audit.analyzer.selection import select_defects

__all__ = ["parser", "run"]


def parser() -> Parser:
    """Returns the parser of ``lab``."""
    found = Parser(
        "tailcall-audit lab",
        "Boots many kernels, a few at a time, and shows for each defect the prediction and what the probes saw.\n"
        "Each is a kernel image or a package with one; of a folder every file that is either.",
    )
    found.add_argument(
        "files", nargs="+", metavar="FILE|DIR", help="kernel images, .deb and .rpm packages, folders of them"
    )
    found.add_argument("--jobs", type=positive, metavar="N", help="how many guests at a time (one a processor)")
    found.add_argument(
        "--emulate",
        action="store_true",
        help="show beside each prediction, which is made without it, what functions of the image do in the emulator",
    )
    add_guest_options(found.add_argument_group("guests"))
    add_choice_options(found)
    add_format_options(
        found, FormatNames(), "table and plain (a column a kernel), or one of the formats of an audit (docs/formats.md)"
    )
    found.add_argument("--output", metavar="FILE", help="write the report there, all of it or nothing")
    found.add_argument("--quiet", action="store_true", help="no progress")
    add_gate_options(found.add_argument_group("what fails (docs/gates.md)"))
    add_catalog_options(found)
    return found


def _wanted(options: argparse.Namespace, catalog: Catalog) -> list[str]:
    """Returns the names of the defects that are looked for; none means all."""
    if options.severity is None:
        return names(options)
    return [item.slug for item in select_defects(catalog, names(options), options.pitfalls, options.severity)]


def run(arguments: Sequence[str]) -> int:
    """Boots the kernels and returns the exit code; raises AuditError."""
    from tailcall_audit.analyzer.live.lab import run_lab

    options = parser().read(arguments)
    check_guest_python(options)
    settings = fill(options, GATE_SETTINGS)
    options.severity = severity_of(settings.values["severity"])
    catalog = load_with_surveys(options.catalog, options.surveys)
    gate = gate_of(options, settings, catalog)
    shows = sys.stderr is not None and sys.stderr.isatty() and not options.quiet
    report = run_lab(
        options.files,
        make_guests(options),
        catalog=catalog,
        jobs=options.jobs,
        only=_wanted(options, catalog),
        pitfalls=options.pitfalls,
        emulate=options.emulate,
        say=lambda text: say(text) if shows else None,
    )
    layout = "compared" if options.emulate else "lab"
    chosen = find_format(layout if options.format in (None, "table", "plain") else options.format)
    report, found = gated_report(report, gate)
    view = View(
        unknown_passes=Outcome.UNKNOWN not in gate.fail_on,
        made=now(),
        publisher=settings.values["publisher"].value or "",
        namespace=settings.values["publisher-namespace"].value or "",
    )
    emit(chosen.render(report, view), options.output)
    return conclude(found, gate)
