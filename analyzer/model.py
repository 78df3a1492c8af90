"""The types at every boundary: evidence, verdict, report. All frozen; nothing here reads, decides or prints.

What an audit of a version string loads are named tuples, everywhere else frozen dataclasses: the import of
`dataclasses` and the making of some 25 of them take 30 ms, half of what the whole audit may (`bench/start.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.errors import AuditError, UnknownDefectError, UsageError

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


class Presence(Enum):
    """The state of a commit's effect in the audited kernel."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Confidence(IntEnum):
    """The trust that a statement deserves."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3

    @property
    def label(self) -> str:
        """The lower-case name, as reports print it."""
        return self.name.lower()


class EvidenceKind(Enum):
    """What was read."""

    SOURCE = "source"
    CODE = "code"
    BTF = "btf"
    EMULATION = "emulation"
    HISTORY = "history"
    SERIES = "series"
    RELEASE = "release"
    BUILD_DATE = "build-date"
    PATCH_QUEUE = "patch-queue"
    CHANGELOG = "changelog"
    CHANGELOG_SILENCE = "changelog-silence"
    CONFIG = "config"
    ARCHITECTURE = "architecture"


class Evidence(NamedTuple):
    """One statement of one reader about one commit (12 hex digits), capability or option.

    `citation` says where it was read (commit and subject, file:line, catalogue source). `conditional` marks a history
    entry that proves the fix only when the source agrees (conflicts were resolved). `settle` is the command that would
    turn an unknown into an answer. `architecture` limits the statement to one architecture. `unreadable` marks an
    unknown whose input could not be read, as against one that was read and looks like nothing known. `guessed` marks a
    statement that rests on a release that was not verified. `basis` is what it rests on that ages, None if it was read
    in the kernel itself. `steps` are the parts of a long detail.
    """

    kind: EvidenceKind
    commit: str
    presence: Presence
    citation: str
    detail: str = ""
    confidence: Confidence = Confidence.HIGH
    conditional: bool = False
    settle: str | None = None
    architecture: str | None = None
    unreadable: bool = False
    guessed: bool = False
    basis: Basis | None = None
    steps: tuple[str, ...] = ()

    def __hash__(self) -> int:
        # Texts know their hash, and members of an enum work theirs out in Python each time.
        return hash((self.commit, self.detail, self.citation))


class State(Enum):
    """The answer to "does this kernel have it?"."""

    AFFECTED = "affected"
    FIXED = "fixed"
    NOT_AFFECTED = "not-affected"
    UNKNOWN = "unknown"


_WORSE = (State.NOT_AFFECTED, State.FIXED, State.UNKNOWN, State.AFFECTED)


class Rule(Enum):
    """The rule that decided. The seen ones are explained in `tailcall_audit.analyzer.policy.agreement`, the last one in
    `….gates.gate`, the others in `….policy.verdict`.
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
    """What a live probe saw."""

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
    """The result of a live probe of one defect, `where` it was seen, and the verdict that was `predicted` before."""

    state: ObservationState
    detail: str
    agreement: Agreement
    predicted: State
    where: str


class Disagreement(NamedTuple):
    """A source that says something else about a commit than the one that decided. `commit` is empty for an observation."""

    commit: str
    text: str

    def __str__(self) -> str:
        return f"{self.commit}: {self.text}" if self.commit else self.text


class Waiver(NamedTuple):
    """A defect that is accepted for a time: on which kernels (a shell pattern), why, through which day (ISO), by whom.

    `source` is the file and line that it was read from. `expired` marks one whose day has passed: it waives nothing.
    """

    defect: str
    kernel: str
    reason: str
    until: str
    who: str
    source: str = ""
    expired: bool = False


class Verdict(NamedTuple):
    """The answer for one defect, with what it rests on.

    `architectures` names those that the answer holds for; it is empty when the answer is the same on every
    architecture. `brief` fits a table's column; `reason` is a full sentence.
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
    """The commits of a complete fix that were found, where the verdict rests on them."""
    rests_on: tuple[Basis, ...] = ()
    """The catalogue and the surveys that decided about its commits."""
    waiver: Waiver | None = None
    """The waiver that names this defect and kernel, where there is something to waive; it may have expired."""
    exposed: Exposed | None = None
    """What the programs that were given mean for it; None where none were."""

    @property
    def counts_as(self) -> State:
        """What a gate counts it as: the state; where programs were given, a hit or refusal as affected, a possible one
        as unknown, and what they do not reach as fixed.
        """
        if self.exposed is None:
            return self.state
        hit, refused = self.exposed.hit, self.exposed.refused.refused
        if hit is True or refused == "yes":
            return State.AFFECTED
        return State.UNKNOWN if hit is None or refused == "possible" else State.FIXED

    @property
    def waived(self) -> bool:
        """True if the defect is accepted on this kernel: a waiver names it and has not expired."""
        return self.waiver is not None and not self.waiver.expired


class LivePatches(Enum):
    """What is known of live patches, which change a kernel without changing its name."""

    NONE = "none"
    LOADED = "loaded"
    UNKNOWN = "unknown"


class TargetKind(Enum):
    """What was audited."""

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
    """Everything about one audited kernel.

    `identity` is what the target says it is, `notes` what the reader should know, `bootable` where its image is, if
    that is at hand. `is_running` marks the kernel that runs on this host, `series` the line of builds that it is one
    of.
    """

    name: str
    kind: TargetKind
    identity: Mapping[str, str | None]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()
    bootable: Bootable | None = None
    is_running: bool = False
    series: str | None = None

    @property
    def states(self) -> dict[str, State]:
        """The verdict on each defect by slug: the worst, where it differs between architectures."""
        found: dict[str, State] = {}
        for item in self.verdicts:
            known = found.get(item.defect.slug, item.state)
            found[item.defect.slug] = max(known, item.state, key=_WORSE.index)
        return found


class Skipped(NamedTuple):
    """An input that cannot be judged, and why. `series` is the line of builds that it is one of, if that is known."""

    label: str
    reason: str
    series: str | None = None


class Node(NamedTuple):
    """A node of a fleet: the place of its kernel in the report's targets, or why it could not be judged."""

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
    """The result of an audit. `first_fixed` is filled for a repository, `nodes` for a list of them; `skipped` lists what
    could not be judged.
    """

    targets: tuple[TargetReport, ...]
    catalog: Catalog
    first_fixed: tuple[FirstFixed, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    today: str = ""
    """The day of the audit (ISO)."""

    def rests_on(self) -> tuple[Basis, ...]:
        """Returns the catalogue and the surveys that decided, each once, the catalogue first."""
        return tuple(
            sorted({item for target in self.targets for verdict in target.verdicts for item in verdict.rests_on})
        )

    nodes: tuple[Node, ...] = ()

    @property
    def unjudged(self) -> bool:
        """Returns True if an input, or a node, could not be judged."""
        return bool(self.skipped) or any(node.skipped is not None for node in self.nodes)

    def has(self, state: State) -> bool:
        """Returns True if any verdict is in this state."""
        return any(verdict.state is state for target in self.targets for verdict in target.verdicts)

    def has_contradiction(self) -> bool:
        """Returns True if a probe contradicts a prediction."""
        seen = (verdict.observation for target in self.targets for verdict in target.verdicts)
        return any(item is not None and item.agreement is Agreement.CONTRADICTED for item in seen)
