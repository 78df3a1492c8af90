"""Judges decide which defects a kernel image has, without booting it. A new judge is one more row in `JUDGES`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tailcall_audit import audit
from tailcall_audit.analyzer.catalog.expression import Interval, evaluate
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.kernelfiles.containers import unpack
from tailcall_audit.analyzer.model import Presence, State
from tailcall_audit.analyzer.readers.code.reader import code_evidence
from tailcall_audit.analyzer.readers.emulation.read import emulate, evidence_of, wanted_cases

__all__ = ["JUDGES", "SLUGS", "Judge"]

SLUGS = (
    "freplace-tailcallee",
    "x86-count-offset",
    "x86-trampoline-loop",
    "x86-hierarchy",
    "freplace-attached-panic",
    "freplace-attached-refused",
    "freplace-loop",
)
"""The defects whose fixes have a signature for x86-64 code."""


class Judge(NamedTuple):
    """A judge: its name for tables and files, and a function that takes an image and its name and returns a verdict on
    each of `SLUGS`.
    """

    name: str
    judge: Callable[[bytes, str], Mapping[str, State]]


def _by_code(elf: bytes, name: str) -> Mapping[str, State]:
    """Returns the verdicts from the signatures of machine code alone: versions, changelogs and types do not count."""
    catalog = load_catalog()
    seen = {item.commit: item.presence for item in code_evidence(Binary(unpack(elf, name)), "x86_64", name)}
    return {slug: _verdict(_defect(catalog, slug), seen) for slug in SLUGS}


def _defect(catalog: Catalog, slug: str) -> Defect:
    return next(defect for defect in catalog.defects if defect.slug == slug)


def _interval(seen: Mapping[str, Presence]) -> Callable[[str], Interval]:
    values = {Presence.PRESENT: Interval(2, 2), Presence.ABSENT: Interval(0, 0)}
    return lambda commit: values.get(seen.get(commit, Presence.UNKNOWN), Interval(0, 2, 0))


def _verdict(defect: Defect, seen: Mapping[str, Presence]) -> State:
    if evaluate(defect.reachable, _interval(seen)).excluded:
        return State.NOT_AFFECTED
    return _fix(defect, seen)


def _fix(defect: Defect, seen: Mapping[str, Presence]) -> State:
    assert defect.fixed is not None
    fix = evaluate(defect.fixed, _interval(seen))
    if fix.met:
        return State.FIXED
    return State.AFFECTED if fix.excluded else State.UNKNOWN


def _by_audit(elf: bytes, name: str) -> Mapping[str, State]:
    """Returns the verdicts of a complete audit of the image, including its version and types."""
    descriptor = os.memfd_create(name[:200])
    with os.fdopen(descriptor, "wb") as file:
        file.write(elf)
        file.flush()
        states = audit(images=[f"/proc/{os.getpid()}/fd/{descriptor}"], only=SLUGS).targets[0].states
    return {slug: states[slug] for slug in SLUGS}


def _by_emulation(elf: bytes, name: str) -> Mapping[str, State]:
    """Returns the verdicts from running the functions alone: they show if the fix of each defect works, but not if the
    kernel has what the defect needs.
    """
    catalog = load_catalog()
    defects = {slug: _defect(catalog, slug) for slug in SLUGS}
    only = frozenset(key for defect in defects.values() for key in defect.commits)
    found = emulate(Binary(unpack(elf, name)), "x86_64", wanted_cases(catalog, "x86_64", only))
    seen = {item.commit: item.presence for item in evidence_of(catalog, found, "x86_64", name, only)}
    return {slug: _fix(defect, seen) for slug, defect in defects.items()}


JUDGES = (Judge("code", _by_code), Judge("emulation", _by_emulation), Judge("audit", _by_audit))
"""The judges that the lab compares with guests."""
