"""The catalogue's types: defects, capabilities, ranges, series, branches. `tailcall_audit.analyzer.catalog.load` makes
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.commit import Commit, Signature, SignaturePart
from tailcall_audit.analyzer.catalog.distribution import Distribution
from tailcall_audit.analyzer.catalog.expression import Expression
from tailcall_audit.analyzer.catalog.memory import Memory
from tailcall_audit.analyzer.catalog.option import OptionSign
from tailcall_audit.analyzer.version import UpstreamVersion, parse_version

__all__ = [
    "ANY_ARCHITECTURE",
    "CAPABILITY_PREFIX",
    "SEVERITIES",
    "AffectedRange",
    "Branch",
    "BranchRanges",
    "Capability",
    "Catalog",
    "Defect",
    "NotAFix",
    "SeriesFact",
    "SeriesReach",
    "TraceSign",
]

CAPABILITY_PREFIX = "capability:"
SEVERITIES = ("low", "medium", "high", "critical")
"""The lowest first."""
_EARLIER_MINORS = {1: 3, 2: 6, 3: 19}
"""The last minor number of each major one before the catalogue's first branch, 4.2."""
_EXISTED: Memory[UpstreamVersion, str | None] = Memory(1000)
ANY_ARCHITECTURE = "*"
"""The entry of a capability for the architectures that have none of their own."""


class Capability(NamedTuple):
    """Something an architecture must be able to do for a defect to be reachable.

    `present_from` and `absent_through` are mainline releases by architecture, `sources` where they are from;
    `ANY_ARCHITECTURE` stands for those without an entry. `settle` is the command that settles it in a kernel's sources.
    """

    key: str
    title: str
    why: str
    settle: str
    present_from: Mapping[str, UpstreamVersion]
    absent_through: Mapping[str, UpstreamVersion]
    signature_data: Mapping[str, Signature]
    sources: Mapping[str, str]

    def entry(self, architecture: str) -> str:
        """Returns the name that an architecture's facts are under."""
        return architecture if architecture in self.sources else ANY_ARCHITECTURE

    @property
    def signatures(self) -> Mapping[str, tuple[SignaturePart, ...]]:
        """The places in the source that show whether an architecture is able, by architecture."""
        return {name: signature.parts for name, signature in self.signature_data.items()}


class AffectedRange(NamedTuple):
    """Releases of one branch with the defect: from `start` up to, without, `fixed` (None: no release with a fix)."""

    start: str
    fixed: str | None


class BranchRanges(NamedTuple):
    """The affected releases of a branch; beyond `surveyed_through` (None: closed) nothing is claimed."""

    branch: str
    affected: tuple[AffectedRange, ...]
    surveyed_through: str | None


class TraceSign(NamedTuple):
    """How a defect shows in a kernel's log: the kinds of trace, the functions that the processor may be in (none: any),
    and those of which one is on the stack (none: any stack). A hint, and never evidence.
    """

    kinds: tuple[str, ...]
    at: tuple[str, ...]
    through: tuple[str, ...]
    source: str


class Defect(NamedTuple):
    """A defect of eBPF tail calls. `architectures` is empty when it is in code of all; `pitfall` is 1 to 6 or None.

    `commits` and `capabilities` are those that its expressions name, introducing ones first, each once. `unproven` are
    the commits whose part in it was read and not shown by running: no verdict is safe by them.
    """

    slug: str
    pitfall: int | None
    title: str
    mechanism: str
    consequence: str
    severity: str
    architectures: tuple[str, ...]
    config: Expression
    reachable: Expression
    fixed: Expression | None
    cves: tuple[str, ...]
    references: tuple[str, ...]
    detection: str
    hazard: str | None
    notes: tuple[str, ...]
    ranges: tuple[BranchRanges, ...]
    unverified: str | None
    unproven: frozenset[str]
    commits: tuple[str, ...]
    capabilities: tuple[str, ...]
    exposure: Expression | None = None
    """What programs must do to meet it, over `Catalog.facts`; None where the catalogue does not say."""
    traces: tuple[TraceSign, ...] = ()


class SeriesFact(NamedTuple):
    """A fact from a distribution's changelog: from a build on (`exact`: at that build only) a commit is present or
    absent.
    """

    distro: str
    series: str
    base: str
    commit: str
    present: bool
    start: str
    exact: bool
    source: str
    note: str | None
    basis: Basis | None = None
    """The survey that it is from; None if it is the catalogue's own."""
    rebuilder: str | None = None
    """Who built the distribution's kernels anew and wrote the changelog; None if the distribution did."""


class SeriesReach(NamedTuple):
    """How far a survey has read the changelog of a series of builds: it says no more of the commits of the catalogue, in
    the builds of that line up to `through`, than the survey's facts do.

    `apart` are the commits that the series took back in between: no fact states which of its builds have them.
    """

    distro: str
    series: str
    base: str
    through: str
    survey: str
    rebuilder: str | None = None
    apart: frozenset[str] = frozenset()


class NotAFix(NamedTuple):
    """A subject or id that looks like a fix, or like the revert of one, and is not."""

    subject: str
    commit: str
    reason: str
    source: str


class Branch(NamedTuple):
    """A stable branch: its base release's date, and its last release and that one's date once it has ended (ISO dates).

    `mainline` is the full id of the commit that mainline's tag of the base release names.
    """

    name: str
    released: str | None
    last: UpstreamVersion | None
    ended: str | None
    mainline: str | None = None


class Catalog(NamedTuple):
    """The whole catalogue. `raw` is the content of its file, `path` the file's path."""

    date: str
    raw: bytes
    path: str
    newest_mainline: UpstreamVersion
    commits: Mapping[str, Commit]
    capabilities: Mapping[str, Capability]
    defects: tuple[Defect, ...]
    series: tuple[SeriesFact, ...]
    branches: Mapping[str, Branch]
    sources: Mapping[str, str]
    not_fixes: tuple[NotAFix, ...]
    cosmetic_reverts: tuple[NotAFix, ...]
    distributions: tuple[Distribution, ...] = ()
    facts: Mapping[str, str] = MappingProxyType({})
    """Facts about BPF programs that conditions name, with what each means."""
    options: tuple[OptionSign, ...] = ()
    """Options of a configuration that a kernel's own functions show."""
    reaches: tuple[SeriesReach, ...] = ()
    """How far the user's surveys have read the changelogs of distributions."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the file."""
        import hashlib

        return hashlib.sha256(self.raw).hexdigest()

    def find(self, name: str) -> tuple[Defect, ...]:
        """Returns the defect with this slug, or all with this pitfall number; empty when there is none."""
        if name.isascii() and name.isdigit():
            return tuple(defect for defect in self.defects if defect.pitfall == int(name[:4]))
        return tuple(defect for defect in self.defects if defect.slug == name)

    def has_mainline(self, major: int, minor: int) -> bool:
        """Returns True if Linux has had a release of these numbers, or may have had one since: the newest major goes
        on.
        """
        newest = self.newest_mainline
        if major >= newest.major:
            return major == newest.major
        if major in _EARLIER_MINORS:
            return minor <= _EARLIER_MINORS[major]
        return f"{major}.{minor}" in self.branches or (major, minor) in ((4, 0), (4, 1))

    def previous_mainline(self, version: UpstreamVersion) -> UpstreamVersion | None:
        """Returns the mainline release before this one's branch: 6.12 for 6.13-rc3, 5.19 for 6.0."""
        older = [
            parsed
            for name in self.branches
            if (parsed := parse_version(name)) < UpstreamVersion(version.major, version.minor)
        ]
        if version.minor > 0 and UpstreamVersion(version.major, version.minor - 1) > self.newest_mainline:
            return UpstreamVersion(version.major, version.minor - 1)
        return max(older, default=None)

    def existed_by(self, commit: Commit) -> str | None:
        """Returns the earliest day that a backport can be from: stable takes what is in mainline, whose merge window
        for a release opens when the one before it is out (Linux Documentation/process/stable-kernel-rules.rst).
        """
        if commit.only_on_branch is not None:
            return None
        known = _EXISTED.of(self)
        if commit.first_release not in known:
            previous = self.previous_mainline(commit.first_release)
            branch = None if previous is None else self.branches.get(previous.branch)
            known[commit.first_release] = None if branch is None else branch.released
        return known[commit.first_release]

    def ended_before(self, branch: str, commit: Commit) -> bool:
        """Returns True if a stable branch had ended before a commit can have existed."""
        known = self.branches.get(branch)
        existed = self.existed_by(commit)
        return known is not None and known.ended is not None and existed is not None and known.ended < existed
