"""Converts verdicts to the terms of VEX, which OpenVEX, CSAF and CycloneDX share.

Unknown becomes "under investigation", never a better status. A waiver does not change the status; the action statement
contains it.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.expression import leaves
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.formats.lines import programs_words
from tailcall_audit.analyzer.model import Rule, State, Verdict
from tailcall_audit.analyzer.text import printable

__all__ = ["Justification", "Name", "Status", "justification_of", "names_of", "notes_of", "remedy_of", "status_of"]


class Status(Enum):
    """The status of a vulnerability in a product."""

    AFFECTED = "affected"
    FIXED = "fixed"
    NOT_AFFECTED = "not_affected"
    UNDER_INVESTIGATION = "under_investigation"


class Justification(Enum):
    """The reason why a product is not affected, in the terms of OpenVEX and CSAF."""

    CODE_NOT_PRESENT = "vulnerable_code_not_present"
    NOT_IN_EXECUTE_PATH = "vulnerable_code_not_in_execute_path"


class Name(NamedTuple):
    """The name of a vulnerability: its CVE if no other defect shares it, otherwise the catalogue's name."""

    name: str
    cve: str | None
    aliases: tuple[str, ...]


_STATUS = {
    State.AFFECTED: Status.AFFECTED,
    State.FIXED: Status.FIXED,
    State.NOT_AFFECTED: Status.NOT_AFFECTED,
    State.UNKNOWN: Status.UNDER_INVESTIGATION,
}
_JUSTIFICATIONS = {
    Rule.OTHER_ARCHITECTURE: Justification.CODE_NOT_PRESENT,
    Rule.CONFIG_EXCLUDES: Justification.CODE_NOT_PRESENT,
    Rule.NEVER_INTRODUCED: Justification.CODE_NOT_PRESENT,
    Rule.CAPABILITY_ABSENT: Justification.NOT_IN_EXECUTE_PATH,
}
"""A defect that was only not reproduced (seen-absent) has no justification; its reason is given as text."""


def status_of(verdict: Verdict) -> Status:
    """Returns the status of a verdict."""
    return _STATUS[verdict.state]


def justification_of(verdict: Verdict) -> Justification | None:
    """Returns the justification for not affected, None if VEX has no term for the rule."""
    return _JUSTIFICATIONS.get(verdict.rule) if verdict.state is State.NOT_AFFECTED else None


def names_of(catalog: Catalog) -> dict[str, Name]:
    """Returns the names of all defects by slug. A CVE that several defects share is not used as a name, because their
    status may differ.
    """
    shared = Counter(cve for defect in catalog.defects for cve in defect.cves)
    found = {}
    for defect in catalog.defects:
        own = [cve for cve in defect.cves if shared[cve] == 1]
        cve = own[0] if len(defect.cves) == len(own) == 1 else None
        found[defect.slug] = Name(cve or defect.slug, cve, (defect.slug,) if cve else ())
    return found


def _fixes(defect: Defect, catalog: Catalog) -> str:
    commits = [catalog.commits[key] for key in dict.fromkeys(leaves(defect.fixed)) if key in catalog.commits]
    return "; ".join(f"{commit} (in v{commit.first_release})" for commit in commits)


def _waiver_words(verdict: Verdict) -> str:
    waiver = verdict.waiver
    if waiver is None:
        return ""
    word = "A waiver has expired" if waiver.expired else "Accepted by a waiver"
    return f"{word}: until {waiver.until}, by {waiver.who}: {waiver.reason} ({waiver.source}). "


def remedy_of(verdict: Verdict, catalog: Catalog) -> str:
    """Returns the action statement for an affected kernel: the waiver, if there is one, and the fix."""
    fixes = _fixes(verdict.defect, catalog)
    words = f"Use a kernel with the fix: {fixes}." if fixes else "No fix is known."
    return printable(_waiver_words(verdict) + words)


def notes_of(verdict: Verdict) -> str:
    """Returns the reason of a verdict as a sentence. For unknown, adds the waiver and the command that settles it."""
    words = f"{verdict.reason} ({verdict.confidence.label} confidence){programs_words(verdict)}"
    if verdict.state is State.UNKNOWN:
        words = f"{_waiver_words(verdict)}{words}"
        words += f"; to settle it: {verdict.settle}" if verdict.settle else ""
    return printable(words)
