"""Compares two reports of the same nodes or kernels: what got worse, what got better, what appeared and what vanished.

Only what both reports cover is compared. What only one of them has (a defect of a newer catalogue, a node that
vanished) is listed separately and is neither worse nor better.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from tailcall_audit.analyzer.errors import AuditError
from tailcall_audit.analyzer.gates.gate import Gate, Outcome, Tally, decide
from tailcall_audit.analyzer.gates.stored import Answer, Stored, StoredKernel
from tailcall_audit.analyzer.model import State

__all__ = ["Change", "Comparison", "NewDefect", "Trend", "compare", "decide_against"]

_RANK = {State.NOT_AFFECTED: 0, State.FIXED: 0, State.UNKNOWN: 1, State.AFFECTED: 2}


class Trend(Enum):
    """How a verdict changed."""

    WORSE = "worse"
    BETTER = "better"
    KNOWN = "newly known"
    LOST = "no longer known"


class Change(NamedTuple):
    """A defect whose verdict changed, with the nodes or kernels (`units`) and the architectures (empty: all)."""

    defect: str
    trend: Trend
    before: State
    now: Answer
    architectures: tuple[str, ...]
    units: tuple[str, ...]


class NewDefect(NamedTuple):
    """A defect that the older report did not look for, with the number of nodes or kernels in each state."""

    defect: str
    states: Mapping[State, int]


class Comparison(NamedTuple):
    """Two reports compared. `unreadable` could be judged before and cannot be judged now. `vanished` and `appeared` are
    in only one of the reports. `not_asked` are defects that only the older one looked for.
    """

    old: Stored
    new: Stored
    changes: tuple[Change, ...]
    unreadable: Mapping[str, str]
    vanished: tuple[str, ...]
    appeared: tuple[str, ...]
    new_defects: tuple[NewDefect, ...]
    not_asked: tuple[str, ...]
    compared: int

    def worse(self, states: Container[State] = (State.AFFECTED, State.UNKNOWN)) -> int:
        """Returns how many verdicts got worse and are now in one of these states. Verdicts that a waiver accepts are
        left out. Units that can no longer be judged count as unknown.
        """
        changes = [item for item in self.changes if item.trend is Trend.WORSE and not item.now.waived]
        unread = len(self.unreadable) if State.UNKNOWN in states else 0
        return sum(item.now.state in states for item in changes) + unread


def _trend(before: State, now: State) -> Trend | None:
    was, is_ = _RANK[before], _RANK[now]
    if is_ > was:
        return Trend.WORSE
    if is_ == was:
        return None
    if before is State.UNKNOWN:
        return Trend.KNOWN
    return Trend.LOST if now is State.UNKNOWN else Trend.BETTER


def _changes(old: StoredKernel, new: StoredKernel) -> Iterator[Change]:
    """Yields the changes between two kernels, without their units. An answer for all architectures counts for each of
    them.
    """
    found: dict[tuple[str, State, Answer], list[str]] = {}
    slugs = dict.fromkeys(slug for slug, _ in new.answers)
    named: dict[str, list[str]] = {}
    for slug, name in dict.fromkeys([*old.answers, *new.answers]):
        if name:
            named.setdefault(slug, []).append(name)
    for slug in slugs:
        for name in named.get(slug) or [""]:
            before = old.answers.get((slug, name)) or old.answers.get((slug, ""))
            now = new.answers.get((slug, name)) or new.answers.get((slug, ""))
            if before is not None and now is not None and _trend(before.state, now.state) is not None:
                found.setdefault((slug, before.state, now), []).append(name)
    for (slug, before_state, now), names in found.items():
        trend = _trend(before_state, now.state)
        if trend is not None:
            yield Change(slug, trend, before_state, now, tuple(name for name in names if name), ())


def _pairs(old: Stored, new: Stored) -> tuple[dict[str, tuple[int, int]], dict[str, int], dict[str, int]]:
    """Returns the units that both reports have, by name with the indexes of their kernels, and those that only one has.

    If each report has a single kernel, both count as the same target even if the names differ: a host has a newer
    kernel after an update.
    """
    before, now = old.units, new.units
    if len(before) == len(now) == 1 and not (old.nodes or new.nodes) and not (old.skipped or new.skipped):
        ((was, place),), ((is_, other),) = before.items(), now.items()
        name = is_ if was == is_ else f"{was} -> {is_}"
        return {name: (place, other)}, {}, {}
    both = {name: (place, now[name]) for name, place in before.items() if name in now}
    gone = {name: place for name, place in before.items() if name not in now}
    return both, gone, {name: place for name, place in now.items() if name not in before}


def _new_defects(old: Stored, new: Stored, both: Mapping[str, tuple[int, int]]) -> tuple[NewDefect, ...]:
    found: dict[str, dict[State, int]] = {}
    missing = new.defects - old.defects
    for _, place in both.values():
        worst: dict[str, State] = {}
        for (slug, _), answer in new.kernels[place].answers.items():
            if slug in missing:
                worst[slug] = max(worst.get(slug, answer.state), answer.state, key=_RANK.__getitem__)
        for slug, state in worst.items():
            counts = found.setdefault(slug, {})
            counts[state] = counts.get(state, 0) + 1
    return tuple(NewDefect(slug, found[slug]) for slug in sorted(found))


_STATES = {Outcome.AFFECTED: State.AFFECTED, Outcome.UNKNOWN: State.UNKNOWN}


def decide_against(found: Comparison, total: Tally, gate: Gate) -> Outcome:
    """Returns the outcome of an audit with a baseline. Contradictions and verdicts with an expired waiver fail first.
    Otherwise the outcome is *affected* if a verdict got worse and its state is in the gate's list.
    """
    outcome = decide(total, gate._replace(fail_on=frozenset()))
    if outcome is not Outcome.PASSED:
        return outcome
    states = [_STATES[item] for item in gate.fail_on if item in _STATES]
    return Outcome.AFFECTED if found.worse(states) else Outcome.PASSED


def compare(old: Stored, new: Stored) -> Comparison:
    """Compares two reports. Raises AuditError if they have no node or kernel in common."""
    both, gone, came = _pairs(old, new)
    unreadable = {name: new.skipped[name] for name in gone if name in new.skipped}
    if not both and not unreadable:
        first, other = next(iter(old.units), "none"), next(iter(new.units), "none")
        raise AuditError(
            f"{old.name} and {new.name} have nothing in common: {first} … and {other} …; name the targets alike"
        )
    units: dict[tuple[int, int], list[str]] = {}
    for name, pair in both.items():
        units.setdefault(pair, []).append(name)
    merged: dict[Change, list[str]] = {}
    for (place, other_place), names in units.items():
        for change in _changes(old.kernels[place], new.kernels[other_place]):
            merged.setdefault(change, []).extend(names)
    order = list(Trend)
    changes = [change._replace(units=tuple(names)) for change, names in merged.items()]
    changes.sort(key=lambda item: (order.index(item.trend), -_RANK[item.now.state], item.defect))
    return Comparison(
        old,
        new,
        tuple(changes),
        unreadable,
        tuple(name for name in gone if name not in unreadable),
        tuple(came),
        _new_defects(old, new, both),
        tuple(sorted(old.defects - new.defects)),
        len(both),
    )
