"""Evidence from what an image's own functions do when they are run in an emulator."""

from __future__ import annotations

from tailcall_audit.analyzer.emulator.reasons import Why
from tailcall_audit.analyzer.readers.emulation.read import emulate, evidence_of, wanted_cases
from tailcall_audit.analyzer.readers.registry import Reading
from tailcall_audit.analyzer.subjects.subject import Request, Subject

__all__ = ["read"]


def read(subject: Subject, request: Request) -> Reading:
    """Runs the functions that decide the defects that are asked for."""
    image = subject.parts.image
    if image is None or image.architecture is None or not request.emulate:
        return Reading()
    only = frozenset(key for defect in request.defects for key in defect.commits)
    cases = wanted_cases(request.catalog, image.architecture, only)
    if not cases:
        return Reading()
    request.progress(f"running {len(cases)} cases on functions of {image.name}")
    found = emulate(image.binary, image.architecture, cases)
    if found.why is None:
        answered = sum(item.outcome is not None for item in found.results.values())
        note = f"{answered} of {len(cases)} cases of its functions, run in an emulator, have an answer"
        evidence = evidence_of(request.catalog, found, image.architecture, image.name, only)
        # Two fixes of one place behave alike. A fix that was made for a stable branch is in no other branch.
        branch = image.release.version.branch
        commits = request.catalog.commits
        kept = tuple(item for item in evidence if commits[item.commit].only_on_branch in (None, branch))
        return Reading(kept, (note,))
    if found.why.why is Why.NO_MACHINE:
        return Reading()
    if found.why.why is Why.NO_EMULATOR:
        note = f"not run: {len(cases)} cases that could decide by what functions do; pip install 'tailcall-audit[emulation]'"
        return Reading(notes=(note,))
    return Reading(notes=(f"its functions were not run: {found.why}",))
