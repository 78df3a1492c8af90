"""Reports of real kernels, and verdicts that are changed for a test."""

from __future__ import annotations

from functools import cache

from tailcall_audit import Catalog, Confidence, State, audit
from tailcall_audit.analyzer.model import (
    Agreement,
    Observation,
    ObservationState,
    Report,
    TargetReport,
    Verdict,
    Waiver,
)

DEFECT = "x86-hierarchy"


@cache
def report(*kernels: str, only: tuple[str, ...] = (), arch: str | None = "x86_64") -> Report:
    """The report of release strings."""
    return audit(kernels=kernels, arch=arch, only=only)


def verdict(catalog: Catalog, state: State, confidence: Confidence = Confidence.HIGH, defect: str = DEFECT) -> Verdict:
    """A verdict of 6.1.170 on one defect, with another state and confidence."""
    (found,) = report("6.1.170", only=(defect,)).targets[0].verdicts
    return found._replace(state=state, confidence=confidence)


def contradicted(item: Verdict) -> Verdict:
    """The same, denied by a probe."""
    seen = Observation(ObservationState.ABSENT, "counted 33", Agreement.CONTRADICTED, item.state, "in a guest")
    return item._replace(observation=seen)


def target(*verdicts: Verdict) -> TargetReport:
    """A report on 6.1.170 with these verdicts."""
    return report("6.1.170", only=(DEFECT,)).targets[0]._replace(verdicts=verdicts)


def waiver(kernel: str = "6.1.*", defect: str = DEFECT, expired: bool = False) -> Waiver:
    """A waiver of a platform team."""
    until = "2026-01-31" if expired else "2027-01-31"
    return Waiver(defect, kernel, "no program mixes both", until, "platform team", "/etc/w.toml:2", expired)
