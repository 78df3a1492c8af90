"""A target while it is audited: what is known of it so far, and the report made from it at the end."""

from __future__ import annotations

from collections.abc import Sequence

from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig
from tailcall_audit.analyzer.model import Confidence, Evidence, TargetKind, TargetReport
from tailcall_audit.analyzer.policy.verdict import Facts, judge_all
from tailcall_audit.analyzer.readers.release import release_evidence, series_evidence
from tailcall_audit.analyzer.subjects.release_string import KernelRelease
from tailcall_audit.analyzer.subjects.schemes import Proof

__all__ = ["Target", "identity_of"]


def identity_of(release: KernelRelease | None, architecture: str | None, **more: str | None) -> dict[str, str | None]:
    """The identity of a report's target: what its release string says, its architecture, and more."""
    return {
        "release": None if release is None else release.release,
        "upstream": None if release is None or release.proof is Proof.NOTHING else str(release.version),
        "proof": None if release is None else release.proof.value,
        "distro": None if release is None else release.distro,
        "package": None if release is None else release.package,
        "flavour": None if release is None else release.flavour,
        "architecture": architecture,
        **more,
    }


def _contradictions(config: KernelConfig, release: KernelRelease | None, architecture: str | None) -> list[str]:
    """Where a configuration is of another kernel than the target: then it excludes nothing."""
    found = []
    if release is not None and config.release is not None:
        ours, theirs = release.version, config.release.version
        exact = release.proof is not Proof.BASE and release.vanilla_like
        if ours.branch != theirs.branch or (exact and ours != theirs):
            found.append(f"its header says {theirs}, the target is {ours}")
    if architecture is not None and config.architecture is not None and architecture != config.architecture:
        found.append(f"it is for {config.architecture}, the target is {architecture}")
    return found


class Target:
    """Collects what is known of one target and turns it into its report."""

    def __init__(self, catalog: Catalog, defects: Sequence[Defect], arch: str | None, pitfalls: bool) -> None:
        self.catalog = catalog
        self.defects = defects
        self.arch = arch
        self.pitfalls = pitfalls
        self.notes: list[str] = []
        self.evidence: list[Evidence] = []

    def release_facts(self, release: KernelRelease, confidence: Confidence = Confidence.HIGH) -> None:
        """Add what a release string proves; `confidence` is the most that it is given."""
        self.notes += release.notes
        if release.version.base > self.catalog.newest_mainline:
            self.notes.append(
                f"{release.version} is newer than the catalogue ({self.catalog.date}, through {self.catalog.newest_mainline}): defects found since then are not in it"
            )
        self.evidence += release_evidence(self.catalog, release, confidence)
        self.evidence += series_evidence(self.catalog, release)

    def architecture(self, named: str | None, where: str) -> str | None:
        """The architecture to judge for: the one asked for, else the one that the target names."""
        if self.arch is not None and named is not None and self.arch != named:
            self.notes.append(f"{where} says {named}; judged for {self.arch}, as asked")
        return self.arch or named

    def speaks(self, config: KernelConfig | None, release: KernelRelease | None, architecture: str | None) -> bool:
        """Whether a configuration is of this kernel and may exclude defects; adds the notes about it."""
        if config is None:
            self.notes.append("config not seen: nothing is excluded by it")
            return False
        self.notes += config.notes
        contradictions = _contradictions(config, release, architecture)
        self.notes += [f"{config.path} excludes nothing: {text}" for text in contradictions]
        return not contradictions

    def report(
        self,
        name: str,
        kind: TargetKind,
        identity: dict[str, str | None],
        config: KernelConfig | None,
        speaks: bool,
        live: bool = False,
    ) -> TargetReport:
        """Judge everything that was gathered; `speaks` and `live` are as in `Facts`."""
        architecture = identity["architecture"]
        facts = Facts(self.evidence, architecture, config, speaks, live)
        verdicts = judge_all(self.catalog, facts, self.defects)
        if self.pitfalls and architecture is not None:
            verdicts = tuple(
                item for item in verdicts if not item.defect.architectures or architecture in item.defect.architectures
            )
        identity["config"] = None if config is None else config.path
        return TargetReport(name, kind, identity, verdicts, tuple(dict.fromkeys(self.notes)))
