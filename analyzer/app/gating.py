"""The gate of a call: its options, and the exit code."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.app.settings import Settings
from tailcall_audit.analyzer.app.shared import EXIT_AFFECTED, EXIT_CLEAN, EXIT_CONTRADICTED, EXIT_UNKNOWN
from tailcall_audit.analyzer.app.streams import say
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.formats.registry import FormatNames
from tailcall_audit.analyzer.gates.gate import Gate, Outcome, Tally, decide, let_through, unused
from tailcall_audit.analyzer.gates.words import confidence_of, outcomes_of
from tailcall_audit.analyzer.model import AuditError, Waiver

if TYPE_CHECKING:
    from tailcall_audit.analyzer.gates.compare import Comparison

__all__ = ["EXIT_CODES", "GATE_SETTINGS", "add_baseline_option", "add_gate_options", "conclude", "gate_of"]

EXIT_CODES = {
    Outcome.CONTRADICTED: EXIT_CONTRADICTED,
    Outcome.AFFECTED: EXIT_AFFECTED,
    Outcome.UNKNOWN: EXIT_UNKNOWN,
    Outcome.PASSED: EXIT_CLEAN,
}
GATE_SETTINGS = ("catalog", "surveys", "format", "fail-on", "min-confidence", "severity")
"""The settings of subcommands that audit and have a gate."""


def add_gate_options(gate: argparse._ActionsContainer) -> None:
    """Adds the options that say what fails."""
    gate.add_argument(
        "--fail-on",
        metavar="LIST",
        help="what fails: affected (exit code 1), unknown (3), or both; contradicted (5) always does (affected,unknown)",
    )
    gate.add_argument(
        "--allow-unknown", action="store_true", help="what is unknown does not fail: the same as --fail-on affected"
    )
    gate.add_argument(
        "--min-confidence",
        metavar="LEVEL",
        help="low, medium or high: a verdict with less confidence counts as unknown (low)",
    )


def add_baseline_option(gate: argparse._ActionsContainer) -> None:
    """Adds the option that compares with an earlier report."""
    gate.add_argument(
        "--baseline",
        metavar="FILE",
        help="an earlier report (--format json): only what got worse since then fails, with exit code 1; what changed is"
        " shown behind a report in text, and on standard error beside any other",
    )


def gate_of(options: argparse.Namespace, settings: Settings, catalog: Catalog) -> Gate:
    """Returns the conditions that make this call fail; raises AuditError on unknown words and on a waiver that cannot
    be read.
    """
    form, value = settings.values["format"], settings.values["fail-on"]
    if form.value is not None and form.value not in FormatNames():
        raise AuditError(f"{form.origin}: no output format {form.value!r}; there are {', '.join(FormatNames())}")
    fails = outcomes_of(value)
    if options.allow_unknown:
        if value.is_option and Outcome.UNKNOWN in fails:
            raise AuditError("--allow-unknown and --fail-on unknown contradict each other: name one of them")
        fails -= {Outcome.UNKNOWN}
    waivers: tuple[Waiver, ...] = ()
    if settings.file.waivers:
        from tailcall_audit.analyzer.gates.waivers import read_waivers

        waivers = read_waivers(settings.file.waivers, settings.file.text, settings.file.name, catalog)
    return Gate(fails, confidence_of(settings.values["min-confidence"]), waivers)


def conclude(found: Tally, gate: Gate, compared: Comparison | None = None) -> int:
    """Names on standard error the waivers that expired or are not used, and what does not fail; returns the exit code.

    With `compared`, what did not get worse since then does not fail.
    """
    for item in gate.waivers:
        if item in found.used and item.expired:
            say(f"{item.source}: the waiver of {item.defect} on {item.kernel} has expired on {item.until}")
    for item in unused(found, gate):
        expired = f" (it has expired on {item.until})" if item.expired else ""
        say(f"{item.source}: the waiver of {item.defect} on {item.kernel} is not used{expired}")
    if found.waived:
        say(f"{found.waived} waived")
    if compared is not None:
        counts = ", ".join(f"{found.count(item)} {item.value}" for item in (Outcome.AFFECTED, Outcome.UNKNOWN))
        say(f"{counts} in all; against the baseline: {compared.worse()} worse")
        from tailcall_audit.analyzer.gates.compare import decide_against

        return EXIT_CODES[decide_against(compared, found, gate)]
    passed = ", ".join(f"{number} {item.value}" for item, number in let_through(found, gate).items())
    if passed:
        fails = ", ".join(item.value for item in Outcome if item in gate.fail_on)
        say(f"{passed}: allowed here, where only {fails} fails")
    return EXIT_CODES[decide(found, gate)]
