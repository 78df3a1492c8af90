"""Chooses commits: the smallest set that makes every defect of a plan fixed by the catalogue's expressions.

Three kinds of commits are added: those that a commit needs (`Commit.needs`), those that mend it (`Commit.follow_ups`),
and the fix of every defect that the commits themselves make reachable ("a fix that brought a defect with it").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.expression import (
    PRESENT,
    Expression,
    Interval,
    Operator,
    evaluate,
    leaves,
)
from tailcall_audit.analyzer.catalog.types import CAPABILITY_PREFIX, Catalog, Defect
from tailcall_audit.analyzer.model import Presence, Rule, Verdict
from tailcall_audit.analyzer.plan.types import Role
from tailcall_audit.analyzer.policy.facts import Facts
from tailcall_audit.analyzer.policy.weigh import weigh

__all__ = ["Choice", "Pick", "choose"]

_MAX_COMBINATIONS = 4096
_RULED_OUT = (Rule.OTHER_ARCHITECTURE, Rule.CONFIG_EXCLUDES)
_MOST_ALTERNATIVES = 64


class Pick(NamedTuple):
    """A commit of the catalogue to pick: why, the defects that it mends, the picks that need it, and those that it
    mends.
    """

    key: str
    role: Role
    defects: tuple[str, ...]
    needed_by: tuple[str, ...]
    follows: tuple[str, ...]


class Choice(NamedTuple):
    """The picks by key, and the defects that no set of commits mends."""

    picks: Mapping[str, Pick]
    without_fix: tuple[str, ...]


class _Chooser:
    """The facts about the tree by which commits are chosen."""

    def __init__(self, catalog: Catalog, facts: Facts, verdicts: Sequence[Verdict], branch: str) -> None:
        self.catalog = catalog
        self.facts = facts
        self.branch = branch
        self.verdicts = verdicts

    def interval(self, key: str, architecture: str | None) -> Interval:
        """Returns the answer of the evidence about a commit or capability, on the scale of an expression."""
        return weigh(self.facts.about(key, architecture)).interval

    def is_there(self, key: str, architecture: str | None = None) -> bool:
        """Returns True if a commit or capability is surely present."""
        return weigh(self.facts.about(key, architecture)).presence is Presence.PRESENT

    def alternatives(self, fixed: Expression, architecture: str | None) -> list[frozenset[str]]:
        """Returns the sets of commits of which each makes an expression true; an empty one if it is true already."""
        if fixed.operator is Operator.LEAF:
            if self.is_there(fixed.name, architecture):
                return [frozenset()]
            if fixed.name.startswith(CAPABILITY_PREFIX):
                return []
            if self.catalog.commits[fixed.name].only_on_branch not in (None, self.branch):
                return []
            return [frozenset((fixed.name,))]
        if fixed.operator is Operator.NOT:
            gone = evaluate(fixed.parts[0], lambda name: self.interval(name, architecture)).excluded
            return [frozenset()] if gone else []
        parts = [self.alternatives(part, architecture) for part in fixed.parts]
        if fixed.operator is Operator.ANY:
            found = [item for part in parts for item in part]
        else:
            found = [frozenset().union(*items) for items in islice(product(*parts), _MAX_COMBINATIONS)]
        return sorted(dict.fromkeys(found), key=lambda item: (len(item), sorted(item)))[:_MOST_ALTERNATIVES]

    def closed(self, keys: Iterable[str]) -> frozenset[str]:
        """Returns the commits with those that they need and that are not surely present, and those that mend them."""
        found: set[str] = set()
        waiting = list(keys)
        while waiting:
            key = waiting.pop()
            if key in found or self.is_there(key):
                continue
            found.add(key)
            commit = self.catalog.commits[key]
            waiting += [entry.commit for entry in (*commit.needs, *commit.follow_ups)]
        return frozenset(found)

    def smallest(self, wanted: Mapping[str, list[frozenset[str]]]) -> frozenset[str]:
        """Returns the smallest set that serves every defect: a commit that serves several counts once."""
        combinations = islice(product(*wanted.values()), _MAX_COMBINATIONS)
        sets = (self.closed(frozenset().union(*items)) for items in combinations)
        return min(sets, key=lambda item: (len(item), sorted(item)), default=frozenset())

    def brought(self, picks: frozenset[str], known: Iterable[str]) -> Iterator[tuple[Defect, str | None]]:
        """Yields the defects that the picks make reachable and do not fix, with the architecture."""
        skipped = set(known)
        for defect in self.catalog.defects:
            if defect.slug in skipped or defect.fixed is None or picks.isdisjoint(leaves(defect.reachable)):
                continue
            for architecture in self._architectures(defect):
                before = evaluate(defect.reachable, self._before(architecture))
                after = evaluate(defect.reachable, self._after(picks, architecture))
                fix = evaluate(defect.fixed, self._after(picks, architecture))
                if not before.met and not after.excluded and not fix.met:
                    yield defect, architecture
                    break

    def _before(self, architecture: str | None) -> Callable[[str], Interval]:
        return lambda name: self.interval(name, architecture)

    def _after(self, picks: frozenset[str], architecture: str | None) -> Callable[[str], Interval]:
        return lambda name: PRESENT if name in picks else self.interval(name, architecture)

    def _architectures(self, defect: Defect) -> Iterator[str | None]:
        """Yields the architectures for which the audit judged a defect, without those that rule it out."""
        for verdict in self.verdicts:
            if verdict.defect is defect and verdict.rule not in _RULED_OUT:
                yield from verdict.architectures or (self.facts.architecture,)


def _wanted(chooser: _Chooser, planned: Sequence[Verdict]) -> tuple[dict[str, list[frozenset[str]]], list[str]]:
    """Returns the alternatives by defect, and the defects that have none."""
    found: dict[str, list[frozenset[str]]] = {}
    without: list[str] = []
    for verdict in planned:
        defect = verdict.defect
        sets = []
        if defect.fixed is not None:
            architecture = verdict.architectures[0] if verdict.architectures else chooser.facts.architecture
            sets = chooser.alternatives(defect.fixed, architecture)
        if sets:
            found[defect.slug] = sets
        else:
            without.append(defect.slug)
    return found, without


def choose(
    catalog: Catalog, facts: Facts, verdicts: Sequence[Verdict], planned: Sequence[Verdict], branch: str
) -> Choice:
    """Chooses commits for the defects of `planned`; `verdicts` are those on every defect of the catalogue."""
    chooser = _Chooser(catalog, facts, verdicts, branch)
    wanted, without = _wanted(chooser, planned)
    asked = set(wanted)
    known = {verdict.defect.slug for verdict in planned}
    picks = chooser.smallest(wanted)
    while True:
        more = {
            defect.slug: sets
            for defect, architecture in chooser.brought(picks, {*known, *wanted})
            if defect.fixed is not None and (sets := chooser.alternatives(defect.fixed, architecture))
        }
        if not more:
            return Choice(_explained(catalog, picks, wanted, asked), tuple(without))
        wanted |= more
        picks = chooser.smallest(wanted)


def _explained(
    catalog: Catalog, picks: frozenset[str], wanted: Mapping[str, list[frozenset[str]]], asked: set[str]
) -> dict[str, Pick]:
    """Returns why each commit is picked: for which defects, and for which other picks."""
    found = {}
    fixes = {
        key: [defect for defect in catalog.defects if defect.slug in wanted and key in leaves(defect.fixed)]
        for key in picks
    }
    for key in sorted(picks):
        for_asked = [defect.slug for defect in fixes[key] if defect.slug in asked]
        needed_by = {other for other in picks if any(entry.commit == key for entry in catalog.commits[other].needs)}
        mends = {other for other in picks if any(entry.commit == key for entry in catalog.commits[other].follow_ups)}
        for defect in fixes[key]:
            if defect.slug not in asked:
                mends |= {other for other in picks if other != key and other in leaves(defect.reachable)}
        role = Role.FIX if for_asked else Role.FOLLOW_UP if mends else Role.PREREQUISITE
        slugs = tuple(defect.slug for defect in fixes[key])
        found[key] = Pick(key, role, slugs, tuple(sorted(needed_by)), tuple(sorted(mends)))
    return found
