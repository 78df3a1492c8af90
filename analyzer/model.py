"""The data types that modules exchange: evidence, verdict, report. All are immutable and contain no I/O and no policy.

Types that an audit of a version string loads are named tuples; the others are frozen dataclasses. Importing
`dataclasses` and creating some 25 of them takes 30 ms, half of the time budget of such an audit (`bench/start.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.errors import AuditError, UnknownDefectError, UsageError
from tailcall_audit.analyzer.evidence import Confidence, Evidence, EvidenceKind, Presence

if TYPE_CHECKING:
    from tailcall_audit.analyzer.catalog.types import Catalog, Defect
    from tailcall_audit.analyzer.exposure.types import Exposed

__all__ = [
    "Agreement",
    "AuditError",
    "Bootable",
    "Confidence",
    "Disagreement",
    "Evidence",
    "EvidenceKind",
    "FirstFixed",
    "LivePatches",
    "Node",
    "Observation",
    "ObservationState",
    "Presence",
    "Report",
    "Rule",
    "Skipped",
    "State",
    "TargetKind",
    "TargetReport",
    "UnknownDefectError",
    "UsageError",
    "Verdict",
    "Waiver",
]


class State(Enum):
    """The answer to "does this kernel have the defect?"."""

    AFFECTED = "affected"
    FIXED = "fixed"
    NOT_AFFECTED = "not-affected"
    UNKNOWN = "unknown"


_WORSE = (State.NOT_AFFECTED, State.FIXED, State.UNKNOWN, State.AFFECTED)


class Rule(Enum):
    """The rule that decided a verdict. `tailcall_audit.analyzer.policy.agreement` explains the seen ones,
    `….gates.gate` the last one, `….policy.verdict` the others.
    """

    OTHER_ARCHITECTURE = "other-architecture"
    CONFIG_EXCLUDES = "config-excludes"
    CAPABILITY_ABSENT = "capability-absent"
    NEVER_INTRODUCED = "never-introduced"
    FIX_PRESENT = "fix-present"
    FIX_ABSENT = "fix-absent"
    NO_FIX_KNOWN = "no-fix-known"
    INTRODUCTION_UNKNOWN = "introduction-unknown"
    FIX_UNKNOWN = "fix-unknown"
    SEEN_PRESENT = "seen-present"
    SEEN_ABSENT = "seen-absent"
    LOW_CONFIDENCE = "low-confidence"


class ObservationState(Enum):
    """The result of a live probe."""

    PRESENT = "present"
    ABSENT = "absent"
    COULD_NOT_RUN = "could-not-run"


class Agreement(Enum):
    """How an observation relates to the prediction. `SETTLED`: the prediction was unknown; the probe decided."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    SETTLED = "settled"
    NOT_OBSERVED = "not-observed"


class Observation(NamedTuple):
    """The result of a live probe of one defect. `where` is the system that was probed, `predicted` the verdict before
    the probe.
    """

    state: ObservationState
    detail: str
    agreement: Agreement
    predicted: State
    where: str


class Disagreement(NamedTuple):
    """A source that contradicts the one that decided about a commit. `commit` is empty if an observation is
    contradicted.
    """

    commit: str
    text: str

    def __str__(self) -> str:
        return f"{self.commit}: {self.text}" if self.commit else self.text


class Waiver(NamedTuple):
    """A defect that is accepted for a time: on which kernels (a shell pattern), why, until which day (ISO, inclusive),
    by whom.

    `source` is the file and line of the waiver. `expired` is True if its last day has passed; it then has no effect.
    """

    defect: str
    kernel: str
    reason: str
    until: str
    who: str
    source: str = ""
    expired: bool = False


class Verdict(NamedTuple):
    """The answer for one defect, with the evidence for it.

    `architectures` lists the architectures for which the answer holds; it is empty if the answer is the same for all.
    `brief` fits into a table column; `reason` is a full sentence.
    """

    defect: Defect
    state: State
    confidence: Confidence
    rule: Rule
    brief: str
    reason: str
    settle: str | None = None
    evidence: tuple[Evidence, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    architectures: tuple[str, ...] = ()
    observation: Observation | None = None
    fixed_by: tuple[str, ...] = ()
    """The commits of a complete fix that were found, if the verdict rests on them."""
    rests_on: tuple[Basis, ...] = ()
    """The catalogue and the surveys that decided about the defect's commits."""
    waiver: Waiver | None = None
    """The waiver for this defect and kernel, if there is something to waive. It may have expired."""
    exposed: Exposed | None = None
    """What the given programs mean for the verdict; None if no programs were given."""

    @property
    def counts_as(self) -> State:
        """The state that a gate uses. With programs, a hit or refusal counts as affected, a possible one as unknown,
        and a defect that the programs do not meet as fixed.
        """
        if self.exposed is None:
            return self.state
        hit, refused = self.exposed.hit, self.exposed.refused
        if hit is True or refused.is_met:
            return State.AFFECTED
        return State.UNKNOWN if hit is None or refused.is_possible else State.FIXED

    @property
    def waived(self) -> bool:
        """True if a waiver accepts the defect on this kernel and has not expired."""
        return self.waiver is not None and not self.waiver.expired


class LivePatches(Enum):
    """What is known about live patches, which change a kernel without changing its name."""

    NONE = "none"
    LOADED = "loaded"
    UNKNOWN = "unknown"


class TargetKind(Enum):
    """The kind of target that was audited."""

    RELEASE = "release"
    CONFIG = "config"
    TREE = "tree"
    HOST = "host"
    CHANGELOG = "changelog"
    PACKAGE = "package"
    IMAGE = "image"


class Bootable(NamedTuple):
    """A kernel image that a guest can boot: a file, or a member of a package file."""

    path: str
    member: str | None = None


class TargetReport(NamedTuple):
    """The complete report on one audited kernel.

    `label` names the kernel. `identity` describes the target by its own data. `notes` are remarks for the reader.
    `bootable` is the place of the kernel image, if it is available. `is_running` marks the kernel that runs on this
    host. `series` is the line of builds that the kernel belongs to, and `version` the version of its package.
    """

    label: str
    kind: TargetKind
    identity: Mapping[str, str | None]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    bootable: Bootable | None = None
    is_running: bool = False
    series: str | None = None
    version: str | None = None

    @property
    def name(self) -> str:
        """The name that reports show: the label, and a mark at the running one of several kernels."""
        return f"{self.label} (running)" if self.is_running and self.kind is not TargetKind.HOST else self.label

    @property
    def states(self) -> dict[str, State]:
        """The verdict on each defect by slug. If it differs between architectures, the worst one."""
        found: dict[str, State] = {}
        for item in self.verdicts:
            known = found.get(item.defect.slug, item.state)
            found[item.defect.slug] = max(known, item.state, key=_WORSE.index)
        return found


class Skipped(NamedTuple):
    """An input that cannot be judged, and the reason. `series` is the line of builds that it belongs to, if known."""

    label: str
    reason: str
    series: str | None = None


class Node(NamedTuple):
    """A node of a fleet: the index of its kernel in the report's targets, or the reason why it could not be judged."""

    name: str
    kernel: int | None = None
    skipped: str | None = None


class FirstFixed(NamedTuple):
    """The first version of a kernel in a repository after which no later version has the defect.

    `version` is None if the newest version has the defect or may have it.
    """

    kernel: str
    defect: str
    version: str | None


class Report(NamedTuple):
    """The result of an audit. `first_fixed` is set for a repository, `nodes` for a list of nodes. `skipped` lists the
    inputs that could not be judged.
    """

    targets: tuple[TargetReport, ...]
    catalog: Catalog
    first_fixed: tuple[FirstFixed, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    today: str = ""
    """The date of the audit (ISO)."""

    def rests_on(self) -> tuple[Basis, ...]:
        """Returns the catalogue and the surveys that decided verdicts, each once, the catalogue first."""
        return tuple(
            sorted({item for target in self.targets for verdict in target.verdicts for item in verdict.rests_on})
        )

    nodes: tuple[Node, ...] = ()

    @property
    def unjudged(self) -> bool:
        """True if an input or a node could not be judged."""
        return bool(self.skipped) or any(node.skipped is not None for node in self.nodes)

    def has(self, state: State) -> bool:
        """Returns True if any verdict is in this state."""
        return any(verdict.state is state for target in self.targets for verdict in target.verdicts)

    def has_contradiction(self) -> bool:
        """Returns True if a probe contradicts a prediction."""
        seen = (verdict.observation for target in self.targets for verdict in target.verdicts)
        return any(item is not None and item.agreement is Agreement.CONTRADICTED for item in seen)
