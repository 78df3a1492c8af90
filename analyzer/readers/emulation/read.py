"""Evidence from an image whose functions are run.

The catalogue says which outcomes of which cases show a commit, present or absent: alternatives of which all conditions
must hold, so that half a fix is not a fix. The cases run in a child process; an answer from there counts only if it
fits the registry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.emulator.child import Limits, run_bounded
from tailcall_audit.analyzer.emulator.image import KernelImage
from tailcall_audit.analyzer.emulator.isa import ARCHITECTURES, isa_of
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tailcall_audit.analyzer.kernelfiles.binary import Binary
from tailcall_audit.analyzer.model import Confidence, Evidence, EvidenceKind, Presence
from tailcall_audit.analyzer.text import printable

__all__ = ["CaseResult", "Emulation", "emulate", "evidence_of", "wanted_cases"]

_LONGEST_STORY = 600


class CaseResult(NamedTuple):
    """The result of a case: an outcome with its story, or a reason. `sites` is the number of places on its path that
    were run in every state; None if the kernel does not list the places that it patches. `misbehaves` is True if the
    reason is a control that failed.
    """

    case: str
    outcome: str | None
    story: str
    sites: int | None = 0
    misbehaves: bool = False


class Emulation(NamedTuple):
    """The results of all cases of an image by their names, or the one reason why none was run."""

    results: Mapping[str, CaseResult]
    why: EmulationError | None = None


def _condition(atom: str) -> tuple[str, str]:
    case, _, outcome = atom.partition("=")
    return case, outcome


def _applies(commit: Commit, architecture: str, only: frozenset[str] | None = None) -> bool:
    if only is not None and commit.key not in only:
        return False
    return commit.emulation is not None and architecture in commit.emulation.get("architectures", (architecture,))


def wanted_cases(catalog: Catalog, architecture: str, only: frozenset[str] | None = None) -> tuple[str, ...]:
    """Returns the cases that the catalogue names for an architecture, each once; `only` for these commits."""
    return tuple(
        dict.fromkeys(
            _condition(atom)[0]
            for commit in catalog.commits.values()
            if commit.emulation is not None and _applies(commit, architecture, only)
            for presence in ("present", "absent")
            for alternative in commit.emulation[presence]
            for atom in alternative
        )
    )


def emulate(binary: Binary, architecture: str, cases: Sequence[str], limits: Limits | None = None) -> Emulation:
    """Returns the results of cases on an image, which run in a process that can do nothing else."""
    try:
        if architecture not in ARCHITECTURES:
            raise EmulationError(Why.NO_MACHINE, architecture)
        isa_of(architecture)
        # Imported here, because the process cannot open files.
        from tailcall_audit.analyzer.readers.emulation.registry import CASES, SYMBOLS
        from tailcall_audit.analyzer.readers.emulation.scene import Bench
        from tailcall_audit.analyzer.readers.emulation.stage import run_case

        kernel = KernelImage(binary, architecture)
        _ = kernel.btf
        kernel.learn(SYMBOLS)

        def work() -> bytes:
            bench = Bench(kernel, symbols=SYMBOLS)
            rows = []
            for name in cases:
                answer = run_case(bench, name, CASES[name])
                found = answer.finding
                if found is None:
                    failed = answer.why is not None and answer.why.why is Why.CONTROL
                    rows.append([name, None, str(answer.why), 0, failed])
                else:
                    sites = answer.sites if bench.sites.are_known else None
                    rows.append([name, found.outcome.value, found.story, sites, False])
            return json.dumps(rows).encode()

        unknown = [name for name in cases if name not in CASES]
        rows = _parse(run_bounded(work, limits), frozenset(cases) - frozenset(unknown))
    except EmulationError as error:
        return Emulation({}, error)
    for name in unknown:
        rows[name] = CaseResult(name, None, "no case of this name in this version")
    return Emulation(rows)


def _parse(data: bytes, cases: frozenset[str]) -> dict[str, CaseResult]:
    """Returns the process's answer with every field checked; raises EmulationError."""
    from tailcall_audit.analyzer.readers.emulation.stage import Outcome

    outcomes = {item.value for item in Outcome}
    found: dict[str, CaseResult] = {}
    try:
        rows: Any = json.loads(data)
        for name, outcome, story, sites, failed in rows:
            if (
                name not in cases
                or (outcome is not None and outcome not in outcomes)
                or not isinstance(sites, int | None)
                or not isinstance(failed, bool)
            ):
                raise ValueError(f"{name!r}: {outcome!r}")
            found[name] = CaseResult(name, outcome, printable(str(story))[:_LONGEST_STORY], sites, failed)
    except (ValueError, TypeError) as error:
        raise EmulationError(Why.CRASHED, f"what it wrote is no answer: {error}") from error
    return found


def evidence_of(
    catalog: Catalog, emulation: Emulation, architecture: str, where: str, only: frozenset[str] | None = None
) -> Iterator[Evidence]:
    """Yields evidence from the results about each commit that the catalogue has conditions for (`only` these); nothing
    if no case was run.
    """
    if emulation.why is not None:
        return
    for commit in catalog.commits.values():
        if _applies(commit, architecture, only):
            found = _evidence(commit, emulation.results, architecture, where)
            if found is not None:
                yield found


def _evidence(commit: Commit, results: Mapping[str, CaseResult], architecture: str, where: str) -> Evidence | None:
    spec = commit.emulation or {}
    for presence in (Presence.ABSENT, Presence.PRESENT):
        for alternative in spec[presence.value]:
            conditions = [_condition(atom) for atom in alternative]
            if all(name in results and results[name].outcome == outcome for name, outcome in conditions):
                stories = tuple(dict.fromkeys(results[name].story for name, _ in conditions))
                once = any(results[name].sites is None for name, _ in conditions)
                how = "run in an emulator" + (", code that is patched at boot in its first state only" if once else "")
                words = f"{'; '.join(stories)} ({where}, {how})"
                said = _said(commit, presence, words, architecture, where)._replace(
                    steps=(f"{where}, {how}:", *stories)
                )
                return said._replace(confidence=Confidence.MEDIUM) if once else said
    open_ones = [
        results[name]
        for name in dict.fromkeys(_condition(atom)[0] for group in spec["present"] for atom in group)
        if name in results and results[name].outcome is None
    ]
    if not open_ones:
        return None  # every case has an answer, and together they show neither
    because = "; ".join(f"{item.case}: {item.story}" for item in open_ones)
    said = _said(commit, Presence.UNKNOWN, f"running it gives no answer: {because}", architecture, where)
    if not any(item.misbehaves for item in open_ones):
        return said
    # It was run, and does not do what it does on every kernel: what else is known of this kernel may not hold for it.
    return said._replace(unreadable=False, settle=f"tailcall-audit --image {where} --confirm=vm")


def _said(commit: Commit, presence: Presence, detail: str, architecture: str, where: str) -> Evidence:
    return Evidence(
        EvidenceKind.EMULATION,
        commit.key,
        presence,
        f"{where}, run in an emulator",
        detail,
        Confidence.HIGH,
        architecture=architecture,
        unreadable=presence is Presence.UNKNOWN,
    )
