"""Tries the steps of a plan, each on top of those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import pygit2

from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.plan.lacks import find_introduction, missing_names
from tailcall_audit.analyzer.plan.pick import Picked, pick
from tailcall_audit.analyzer.plan.scratch import MissingObjectError, Scratch
from tailcall_audit.analyzer.plan.types import Origin, Outcome, Role, Step, short
from tailcall_audit.analyzer.text import printable

__all__ = ["Attempts", "Trial", "Wanted", "attempt"]

_MAX_DEPTH = 2
"""The longest chain of prerequisites that is followed: a prerequisite may lack names that another commit brings."""
_MAX_PREREQUISITES = 8
_MAX_PATCH = 4 << 20
_NOWHERE = Origin("", "")


@dataclass(frozen=True)
class Wanted:
    """A step before it is tried.

    `origins` are the forms of the commit, the best first; `dependencies` are the commits that a branch took for it, and
    `missing` is the form that `fetch` brings.
    """

    key: str
    upstream: str
    subject: str
    role: Role
    defects: tuple[str, ...]
    needed_by: tuple[str, ...]
    origins: tuple[Origin, ...]
    follows: tuple[str, ...] = ()
    after: frozenset[str] = frozenset()
    dependencies: tuple[Origin, ...] = ()
    cves: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    missing: Origin = _NOWHERE
    fetch: str | None = None

    def step(self, outcome: Outcome, origin: Origin) -> Step:
        """Returns the step of one form of the commit, before it is tried."""
        return Step(
            commit=origin.id,
            upstream=self.upstream,
            subject=self.subject,
            source=origin.source,
            role=self.role,
            defects=self.defects,
            needed_by=self.needed_by,
            follows=self.follows,
            outcome=outcome,
            cves=self.cves,
            changes=self.changes,
        )


class _Try(NamedTuple):
    """One form of a commit, tried: the tree afterwards, the prerequisites that were put before it, and what it still
    lacks.
    """

    origin: Origin
    picked: Picked
    before: tuple[Step, ...]
    lacks: tuple[str, ...]

    @property
    def rank(self) -> int:
        """0 for one that applies and lacks nothing, 1 for one that applies, 2 for a conflict."""
        if self.picked.outcome is Outcome.CONFLICTS:
            return 2
        return int(bool(self.lacks) or any(step.outcome is Outcome.CONFLICTS for step in self.before))


@dataclass
class Trial:
    """The state of the trial: the tree so far, and the steps that led to it."""

    scratch: Scratch
    head: str
    tree: str
    progress: Callable[[str], None]
    key_of: Callable[[str], str | None]
    steps: list[Step] = field(default_factory=list)

    def _taken(self) -> set[str]:
        return {step.commit for step in self.steps}

    def step(self, wanted: Wanted) -> bool:
        """Tries a step and appends it with its prerequisites. If it conflicts, returns False and changes nothing."""
        found = self._best(wanted)
        if isinstance(found, Step):
            self.steps.append(found)
            return True
        if found[0].rank == 2:
            return False
        self._accept(wanted, found)
        return True

    def give_up(self, wanted: Wanted) -> None:
        """Appends a step as it stands, conflicts and all."""
        found = self._best(wanted)
        if isinstance(found, Step):
            self.steps.append(found)
        else:
            self._accept(wanted, found)

    def _best(self, wanted: Wanted) -> Step | list[_Try]:
        """Returns the result of each form of a commit, the best first; a step if no form is here."""
        tries: list[_Try] = []
        reasons: list[str] = []
        for origin in wanted.origins:
            self.progress(f"trying {short(origin.id)} of {origin.source}")
            try:
                tries.append(self._try(wanted, origin))
            except MissingObjectError as error:
                reasons.append(f"{origin.source}'s {short(origin.id)}: {error}")
                continue
            if tries[-1].rank == 0:
                break
        if not tries:
            return _missing(wanted, reasons)
        return sorted(tries, key=lambda item: item.rank)

    def _try(self, wanted: Wanted, origin: Origin) -> _Try:
        commit = self.scratch.commit(origin.id)
        tree, before = self.tree, list[Step]()
        for dependency in wanted.dependencies:
            if dependency.source == origin.source and dependency.id not in self._taken():
                tree = self._prerequisite(dependency, origin, tree, before, f"Stable-dep-of {short(wanted.upstream)}")
        tree, lacks = self._complete(commit, origin, tree, before, _MAX_DEPTH)
        return _Try(origin, pick(self.scratch, tree, commit), tuple(before), lacks)

    def _complete(
        self, commit: pygit2.Commit, origin: Origin, tree: str, before: list[Step], depth: int
    ) -> tuple[str, tuple[str, ...]]:
        """Picks the commits that brought the names that a commit uses and the tree lacks; returns the tree, and the
        names still missing.
        """
        lacks = missing_names(self.scratch, tree, commit)
        for name in lacks:
            if depth == 0 or len(before) >= _MAX_PREREQUISITES or name not in missing_names(self.scratch, tree, commit):
                continue
            brought = find_introduction(self.scratch, commit, self.head, name, self.progress)
            if brought is None or brought in self._taken() or any(step.commit == brought for step in before):
                continue
            found = self.scratch.commit(brought)
            tree, _ = self._complete(found, origin, tree, before, depth - 1)
            tree = self._prerequisite(Origin(brought, origin.source), origin, tree, before, f"brings {name}")
        return tree, missing_names(self.scratch, tree, commit) if lacks else ()

    def _prerequisite(self, origin: Origin, needed_by: Origin, tree: str, before: list[Step], why: str) -> str:
        """Picks a commit that the catalogue does not have; returns the tree afterwards."""
        commit = self.scratch.commit(origin.id)
        picked = pick(self.scratch, tree, commit)
        if picked.outcome is not Outcome.PRESENT:
            subject = printable(commit.raw_message.lstrip().partition(b"\n")[0].decode("utf-8", "replace"), 200)
            wanted = Wanted(
                origin.id,
                self.key_of(origin.id) or origin.id,
                subject,
                Role.PREREQUISITE,
                (),
                (needed_by.id,),
                (origin,),
            )
            before.append(self._made(wanted, origin, picked, tree, (why,)))
        return picked.tree

    def _accept(self, wanted: Wanted, tries: Sequence[_Try]) -> None:
        best = tries[0]
        notes = [
            f"{_named(other.origin)} conflicts in {', '.join(map(str, other.picked.conflicts))}; {_named(best.origin)} applies instead"
            for other in tries[1:]
            if other.rank == 2 and best.rank < 2
        ]
        notes += [f"{_named(other.origin)} conflicts too" for other in tries[1:] if other.rank == 2 == best.rank]
        if best.lacks:
            notes.append(f"uses {', '.join(best.lacks)}, which the tree lacks: it may not compile")
        self.steps += best.before
        tree = self.tree
        for step in best.before:
            if step.outcome is not Outcome.CONFLICTS:
                tree = self._tree_after(tree, step)
        made = self._made(wanted, best.origin, best.picked, tree, notes)
        self.steps.append(made._replace(lacks=best.lacks))
        self.tree = best.picked.tree if best.picked.outcome is not Outcome.CONFLICTS else tree

    def _tree_after(self, tree: str, step: Step) -> str:
        return pick(self.scratch, tree, self.scratch.commit(step.commit)).tree

    def _made(self, wanted: Wanted, origin: Origin, picked: Picked, tree: str, notes: Sequence[str]) -> Step:
        commit = self.scratch.commit(origin.id)
        old, new = tree, picked.tree
        if picked.outcome is Outcome.CONFLICTS:
            old, new = self.scratch.parent_tree(commit), str(commit.tree_id)
        author = commit.author
        return wanted.step(picked.outcome, origin)._replace(
            conflicts=picked.conflicts,
            notes=tuple(notes),
            author=printable(f"{author.name} <{author.email}>", 200),
            message=commit.raw_message.decode("utf-8", "replace"),
            patch=self._patch(old, new),
        )

    def _patch(self, old: str, new: str) -> bytes | None:
        """Returns the difference of two trees as a patch; None if it is too large."""
        changes = self.scratch.changes(old, new)
        before = self.scratch.tree_of({change.path: change.old for change in changes if change.old is not None})
        after = self.scratch.tree_of({change.path: change.new for change in changes if change.new is not None})
        with pygit2_errors(lambda words: MissingObjectError(f"no diff: {words}")):
            diff = self.scratch.tree(before).diff_to_tree(self.scratch.tree(after))
            data = b"".join(patch.data for patch in diff if patch is not None)
        return data if len(data) <= _MAX_PATCH else None


def _named(origin: Origin) -> str:
    return f"{origin.source}'s {short(origin.id)}"


def _missing(wanted: Wanted, reasons: Sequence[str]) -> Step:
    """A step of which no object is in any repository."""
    step = wanted.step(Outcome.OBJECT_MISSING, wanted.missing)
    return step._replace(notes=tuple(reasons), fetch=wanted.fetch)


class Attempts(Protocol):
    """A way to try steps: `Trial` on git objects, `patches.PatchTrial` on patch files."""

    def step(self, wanted: Wanted) -> bool:
        """Tries a step and adds it. If it conflicts, returns False and changes nothing."""
        ...

    def give_up(self, wanted: Wanted) -> None:
        """Adds a step as it is, with its conflicts."""
        ...


def attempt(trial: Attempts, wanted: Mapping[str, Wanted], order: Sequence[str]) -> None:
    """Tries every step in order. One that conflicts is tried again after the steps that do not depend on it."""
    waiting = list(order)
    while waiting:
        rest: list[str] = []
        for key in waiting:
            held = wanted[key].after & set(rest)
            if held or not trial.step(wanted[key]):
                rest.append(key)
        if len(rest) == len(waiting):
            trial.give_up(wanted[rest.pop(0)])
        waiting = rest
