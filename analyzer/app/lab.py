"""``tailcall-audit lab``: many kernels in guests."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tailcall_audit.analyzer.app.parser import Parser
from tailcall_audit.analyzer.app.shared import (
    add_catalog_options,
    add_choice_options,
    add_guest_options,
    emit,
    exit_code,
    load_with_surveys,
    make_guests,
    names,
    positive,
)
from tailcall_audit.analyzer.app.streams import say
from tailcall_audit.analyzer.formats.registry import View, find_format

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
    found.add_argument("--jobs", type=positive, default=2, metavar="N", help="how many guests at a time (2)")
    found.add_argument(
        "--emulate",
        action="store_true",
        help="show beside each prediction, which is made without it, what functions of the image do in the emulator",
    )
    add_guest_options(found.add_argument_group("guests"))
    add_choice_options(found)
    found.add_argument("--json", action="store_true", help="print the report as JSON (docs/report.md)")
    found.add_argument("--output", metavar="FILE", help="write the report there, all of it or nothing")
    found.add_argument("--quiet", action="store_true", help="no progress")
    add_catalog_options(found)
    return found


def run(arguments: Sequence[str]) -> int:
    """Boots the kernels and returns the exit code; raises AuditError."""
    from tailcall_audit.analyzer.live.lab import run_lab

    options = parser().read(arguments)
    shows = sys.stderr is not None and sys.stderr.isatty() and not options.quiet
    report = run_lab(
        options.files,
        make_guests(options),
        catalog=load_with_surveys(options.catalog),
        jobs=options.jobs,
        only=names(options),
        pitfalls=options.pitfalls,
        emulate=options.emulate,
        say=lambda text: say(text) if shows else None,
    )
    chosen = find_format("json" if options.json else "compared" if options.emulate else "lab")
    emit(chosen.render(report, View()), options.output)
    return exit_code(report, allow_unknown=False)
