"""The types of a plan. All are frozen; nothing here reads, decides or prints."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

__all__ = [
    "MAINLINE",
    "Conflict",
    "FirstWithout",
    "KnownFrom",
    "Left",
    "Origin",
    "Outcome",
    "Plan",
    "Result",
    "Role",
    "SeriesPlan",
    "Step",
    "short",
]

MAINLINE = "mainline"
"""The source of a commit that is no stable branch's backport."""
_SHOWN = 12


class Outcome(Enum):
    """The outcome of trying a step on top of the steps before it."""

    CLEAN = "clean"
    RENAMES = "renames"
    CONFLICTS = "conflicts"
    PRESENT = "present"
    OBJECT_MISSING = "object-missing"
    UNTESTED = "untested"


class Role(Enum):
    """Why a commit is in a plan."""

    FIX = "fix"
    PREREQUISITE = "prerequisite"
    FOLLOW_UP = "follow-up"


class Origin(NamedTuple):
    """One form of a commit: the id of its object, and whose it is (`MAINLINE` or a stable branch, ``6.1``)."""

    id: str
    source: str


class Conflict(NamedTuple):
    """A file that does not merge, and the functions in which it does not, as far as they are known."""

    path: str
    functions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.path} ({', '.join(self.functions)})" if self.functions else self.path


class Step(NamedTuple):
    """One commit to pick.

    `commit` is the id of what is picked and `upstream` mainline's. `defects` are the slugs that it mends, `needed_by`
    the commits of the plan that do not work without it, `follows` those that it mends in their turn. `fetch` is the
    command that brings a missing object. `lacks` are the names that its code uses and the tree does not have. `changes`
    says what it changes for programs that worked before. `patch` is the change as a diff with its file headers, where
    the objects are there; `author` and `message` are those of what is picked.
    """

    commit: str
    upstream: str
    subject: str
    source: str
    role: Role
    defects: tuple[str, ...]
    needed_by: tuple[str, ...]
    follows: tuple[str, ...]
    outcome: Outcome
    conflicts: tuple[Conflict, ...] = ()
    notes: tuple[str, ...] = ()
    fetch: str | None = None
    cves: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    author: str = ""
    message: str = ""
    patch: bytes | None = None


class Left(NamedTuple):
    """A defect that is not mended, or not known to be: its slug, why, and the command that settles it."""

    slug: str
    reason: str
    settle: str | None = None


class Result(NamedTuple):
    """The state of the tree after the steps.

    `tested` is True if every step was tried and the result was read. `fixed` are the defects that the code alone shows
    fixed, `open` the other defects of the plan. `tree` is the id of the tree that real picks lead to; None if a step
    does not apply, and without git.
    """

    tested: bool
    fixed: tuple[str, ...]
    open: tuple[Left, ...]
    tree: str | None = None


class Plan(NamedTuple):
    """A plan for one tree. `affected` are the slugs to mend, `unknown` the undecided defects that were not planned for.

    `lenders` are the other repositories that commits were read from: the path, and the branches looked in.
    """

    name: str
    identity: Mapping[str, str | None]
    affected: tuple[str, ...]
    unknown: tuple[Left, ...]
    steps: tuple[Step, ...]
    result: Result
    notes: tuple[str, ...] = ()
    lenders: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def applies(self) -> bool:
        """Returns True if every step applies and nothing of what was asked for stays open."""
        fine = (Outcome.CLEAN, Outcome.RENAMES, Outcome.PRESENT)
        return (
            self.result.tested
            and all(step.outcome in fine and not step.lacks for step in self.steps)
            and not self.result.open
        )


class KnownFrom(Enum):
    """The source of the versions of a series."""

    REPOSITORY = "repository"
    CATALOGUE = "catalogue"


class FirstWithout(NamedTuple):
    """The first version of a series without a defect, after which no later one has it.

    `affected` names the version that has it (of a repository the newest that does), `version` the first one without,
    None if none is known; `fixed_by` are the commits of the fix that are in it, and `reason` says why, or what else
    is known.
    """

    series: str
    affected: str
    defect: str
    version: str | None
    fixed_by: tuple[str, ...]
    reason: str
    known_from: KnownFrom


class SeriesPlan(NamedTuple):
    """What to update to: for each defect of a package, or of the series of a repository. `unknown` are undecided
    defects.
    """

    name: str
    items: tuple[FirstWithout, ...]
    unknown: tuple[Left, ...]
    notes: tuple[str, ...] = ()


def short(name: str) -> str:
    """Returns the first 12 digits of an id, as the kernel's own messages cite it."""
    return name[:_SHOWN]
