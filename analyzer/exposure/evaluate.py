"""Evaluates the catalogue's conditions for each program, in three-valued logic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tailcall_audit.analyzer.catalog.expression import Expression, Operator, leaves
from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.exposure.answers import possible
from tailcall_audit.analyzer.exposure.facts.registry import facts
from tailcall_audit.analyzer.exposure.types import (
    Exposure,
    Finding,
    ProgramState,
    Refusal,
    State,
    all_of,
    any_of,
    opposite_of,
)
from tailcall_audit.analyzer.exposure.world import Member, World
from tailcall_audit.analyzer.programs.types import ProgramSet

__all__ = ["expose", "finding_of"]

_Value = Callable[[str], Finding]
_UNREAD = "its instructions are not known"
_DUMP = (
    "bpftool -j prog dump xlated id N opcodes   (docs/programs.md), or tailcall-audit exposure --loaded on that host"
)


def finding_of(expression: Expression, value_of: _Value) -> Finding:
    """Evaluates a condition. `value_of` returns the finding of each fact."""
    if expression.operator is Operator.LEAF:
        return value_of(expression.name)
    parts = tuple(finding_of(part, value_of) for part in expression.parts)
    if expression.operator is Operator.NOT:
        return opposite_of(parts[0])
    return all_of(parts) if expression.operator is Operator.ALL else any_of(parts)


class _Values:
    """Caches the findings of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._found: dict[tuple[Member, str], Finding] = {}

    def of(self, member: Member, expression: Expression | None) -> Finding:
        """Returns the finding of a condition about a program."""
        if expression is None:
            return possible("the catalogue has no condition for it", member.place())
        return finding_of(expression, lambda name: self._fact(member, name))

    def _fact(self, member: Member, name: str) -> Finding:
        key = (member, name)
        if key not in self._found:
            matcher = facts().get(name)
            if matcher is None:
                self._found[key] = possible(f"this version does not know the fact {name!r}", member.place())
            else:
                found = matcher(self._world, member)
                is_unread = found.state is State.NOT_MET and not member.is_read
                self._found[key] = possible(_UNREAD, member.place(), settle=_DUMP) if is_unread else found
        return self._found[key]


def _of_set(members: Sequence[Member], findings: Sequence[Finding]) -> Finding:
    """Returns the surest finding of all programs, with the places of every finding that is as sure."""
    state = max(item.state for item in findings)
    best = [(member, item) for member, item in zip(members, findings, strict=True) if item.state is state]
    if state is State.NOT_MET:
        reasons = tuple(dict.fromkeys(item.reason for _, item in best))
        more = f" (and {len(reasons) - 1} more reasons)" if len(reasons) > 1 else ""
        return Finding(state, f"{reasons[0]}{more}")
    member, first = max(best, key=lambda pair: (len(pair[1].chain), bool(pair[1].where)))
    where = tuple(dict.fromkeys((*first.where, *(place for _, item in best for place in item.where))))
    others = [item.name for item, _ in best if item is not member]
    also = f" (so does {others[0]})" if len(others) == 1 else f" (so do {len(others)} others)" if others else ""
    begins = f"{member.name}: "
    return first._replace(reason=f"{begins}{first.reason.removeprefix(begins)}{also}", where=where)


def _refusals(catalog: Catalog, defect: Defect, members: Sequence[Member], values: _Values) -> Iterable[Refusal]:
    for key in dict.fromkeys(leaves(defect.fixed)):
        for change in catalog.commits[key].changes:
            if change.errno is None:
                continue
            findings = [values.of(member, change.refuses) for member in members]
            finding = _of_set(members, findings)
            if finding.state is not State.NOT_MET:
                states = tuple(item.state for item in findings)
                yield Refusal(key, change.what, change.errno, change.words, finding, states)


def expose(
    catalog: Catalog,
    sets: Sequence[ProgramSet],
    *,
    closed: bool = False,
    complete: bool = True,
    defects: Sequence[Defect] | None = None,
) -> tuple[Exposure, ...]:
    """Returns the exposure of the program sets to each defect. `defects` limits the defects (None: the whole
    catalogue).

    `closed`: no other programs exist, and nothing else is attached. `complete`: all programs could be read; if not, the
    world is open, whatever `closed` states. Raises ValueError for sets without programs.
    """
    world = World(sets, closed, complete)
    if not world.members:
        raise ValueError("there is no program")
    values = _Values(world)
    found = []
    for defect in catalog.defects if defects is None else defects:
        findings = [values.of(member, defect.exposure) for member in world.members]
        refusals = tuple(_refusals(catalog, defect, world.members, values))
        states = tuple(
            ProgramState(
                member.owner.label,
                member.program.key,
                finding.state,
                max((item.programs[index] for item in refusals), default=State.NOT_MET),
            )
            for index, (member, finding) in enumerate(zip(world.members, findings, strict=True))
        )
        found.append(Exposure(defect.slug, _of_set(world.members, findings), refusals, states))
    return tuple(found)
