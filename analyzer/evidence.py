"""What a reader states about one commit, and how sure it is. The rest of the program takes these types from
`tailcall_audit.analyzer.model`.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

from tailcall_audit.analyzer.basis import Basis

__all__ = ["Confidence", "Evidence", "EvidenceKind", "OptionSeen", "Presence"]


class Presence(Enum):
    """The state of a commit's effect in the audited kernel."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Confidence(IntEnum):
    """The trust that a statement deserves, from low to high."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3

    @property
    def label(self) -> str:
        """The lower-case name, as reports print it."""
        return self.name.lower()


class EvidenceKind(Enum):
    """The kind of source that was read."""

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
    """One statement of a reader about one commit (12 hex digits), capability or option.

    `citation` is where it was read (commit and subject, file:line, catalogue source). `conditional` marks a history
    entry that proves the fix only if the source code agrees, because conflicts were resolved. `settle` is the command
    that would decide an unknown. `architecture` limits the statement to one architecture. `unreadable` marks an unknown
    whose input could not be read, as opposed to one that was read but not recognised. `guessed` marks a statement that
    rests on an unverified release. `basis` is the dated data that it rests on, None if it was read from the kernel
    itself. `steps` are the parts of a long detail.
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
        # Strings cache their hash; members of an enum compute theirs in Python each time.
        # The command is in it: the kernels of a fleet have thousands of statements that differ in nothing else.
        return hash((self.commit, self.detail, self.citation, self.settle))


class OptionSeen(NamedTuple):
    """An option of the configuration that a kernel's own functions show. `options` are its names, of which a kernel has
    one; `citation` is the table that was read, `detail` what was seen in it.
    """

    options: tuple[str, ...]
    is_on: bool
    citation: str
    detail: str
