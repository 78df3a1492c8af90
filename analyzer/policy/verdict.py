"""The verdict on one defect, from the evidence about the commits that it depends on. Nothing outside `policy` decides.

The rules, in the order in which they are tried (each is a member of `tailcall_audit.analyzer.model.Rule`):

- other-architecture: the defect is in code of another architecture than the audited one.
- config-excludes: an option that the defect needs is off by the kernel's configuration. By the kernel's own functions
  (`options`) it excludes a defect last, if no other rule has answered not-affected or fixed.
- capability-absent: the architecture cannot do what the defect needs.
- never-introduced: a commit that the defect needs is absent.
- fix-present: a complete fix is present.
- introduction-unknown, fix-unknown: it is not known whether a commit that decides is present.
- no-fix-known, fix-absent: all that the defect needs is present, and no complete fix is. If the catalogue knows no fix,
  a kernel of a mainline release that is newer than the catalogue gets fix-unknown.

How the evidence about one commit is weighed is in `weigh`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tailcall_audit.analyzer.basis import Basis
from tailcall_audit.analyzer.catalog.expression import Interval, evaluate, leaves
from tailcall_audit.analyzer.catalog.types import CAPABILITY_PREFIX, Defect
from tailcall_audit.analyzer.model import (
    Confidence,
    Disagreement,
    Evidence,
    EvidenceKind,
    LivePatches,
    Presence,
    Rule,
    State,
    Verdict,
)
from tailcall_audit.analyzer.policy.facts import Facts, both_ways
from tailcall_audit.analyzer.policy.options import Excluded, excluded_by_config, excluded_by_functions
from tailcall_audit.analyzer.policy.weigh import Weighed

__all__ = ["judge"]

_LAST_RESORT = "tailcall-audit --tree PATH   on the sources that it was built from"


def _decisive(weighed: dict[str, Weighed], names: Iterable[str], presence: Presence) -> list[tuple[str, Weighed]]:
    return [(name, weighed[name]) for name in dict.fromkeys(names) if weighed[name].presence is presence]


def _cite(pairs: Sequence[tuple[str, Weighed]]) -> str:
    parts = []
    for name, item in pairs:
        because = "" if item.decisive is None else f" ({item.decisive.detail or item.decisive.citation})"
        parts.append(f"{name.removeprefix(CAPABILITY_PREFIX)}{because}")
    return "; ".join(parts)


class _Case:
    """One defect on one architecture: the evidence weighed once, and the verdict made from it."""

    def __init__(self, defect: Defect, facts: Facts, architecture: str | None) -> None:
        self.defect = defect
        self.facts = facts
        self.evidence: list[Evidence] = []
        self.weighed: dict[str, Weighed] = {}
        self.needs: dict[str, Weighed] = {}
        """The same evidence, weighed for the commits that the defect needs (`both_ways`)."""
        for name in (*defect.commits, *defect.capabilities):
            items, self.weighed[name], self.needs[name] = both_ways(facts, name, architecture, name in defect.unproven)
            self.evidence += items

    def verdict(
        self, state: State, rule: Rule, brief: str, reason: str, confidence: int, settle: str | None = None
    ) -> Verdict:
        level = Confidence(max(1, min(confidence, 3)))
        if self.facts.live_patches is not LivePatches.NONE and state in (State.AFFECTED, State.FIXED):
            level = min(level, Confidence.MEDIUM)
            reason += "; live patches not known" if self.facts.live_patches is LivePatches.UNKNOWN else ""
        if self.defect.unverified and state is not State.NOT_AFFECTED:
            level = min(level, Confidence.MEDIUM)
        disagreements = [Disagreement(name, text) for name, item in self.weighed.items() for text in item.disagreements]
        return Verdict(
            defect=self.defect,
            state=state,
            confidence=level,
            rule=rule,
            brief=brief,
            reason=reason,
            settle=settle,
            evidence=tuple(self.evidence),
            disagreements=tuple(disagreements),
            rests_on=tuple(dict.fromkeys(self._bases())),
        )

    def _bases(self) -> Iterator[Basis]:
        for item in (*self.weighed.values(), *self.needs.values()):
            if item.decisive is not None and item.decisive.basis is not None and item.presence is not Presence.UNKNOWN:
                yield item.decisive.basis

    def interval(self, name: str) -> Interval:
        return self.weighed[name].interval

    def unknown(self, rule: Rule, names: Iterable[str], weighed: dict[str, Weighed] | None = None) -> Verdict:
        open_ones = _decisive(weighed or self.weighed, names, Presence.UNKNOWN)
        name, item = open_ones[0]
        settle = next(
            (pair[1].decisive.settle for pair in open_ones if pair[1].decisive is not None and pair[1].decisive.settle),
            None,
        )
        short = name.removeprefix(CAPABILITY_PREFIX)
        if item.decisive is None:
            reason = f"whether {short} is there is unknown: nothing that was read says so"
        else:
            reason = f"whether {short} is there is unknown: {item.decisive.detail or item.decisive.citation}"
        if settle is None:
            read = any(entry.kind is EvidenceKind.SOURCE for entry in self.evidence)
            settle = f"tailcall-audit explain {short}   and compare with the sources" if read else _LAST_RESORT
        return self.verdict(State.UNKNOWN, rule, f"{short}?", reason, Confidence.LOW, settle)

    def excluded(self, why: Excluded) -> Verdict:
        self.evidence.insert(0, why.evidence)
        return self.verdict(State.NOT_AFFECTED, Rule.CONFIG_EXCLUDES, why.brief, why.reason, why.confidence)

    def decide(self) -> Verdict:
        defect = self.defect
        reach = evaluate(defect.reachable, lambda name: self.needs[name].interval)
        fix = Interval(0, 0) if defect.fixed is None else evaluate(defect.fixed, self.interval)
        needed, fixes = tuple(leaves(defect.reachable)), tuple(leaves(defect.fixed))
        if reach.excluded:
            return self.unreachable(needed, reach.confidence)
        if fix.met:
            there = _decisive(self.weighed, fixes, Presence.PRESENT)
            fixed = self.verdict(
                State.FIXED, Rule.FIX_PRESENT, f"has {there[0][0]}", f"fixed by {_cite(there)}", fix.confidence
            )
            return fixed._replace(fixed_by=tuple(name for name, _ in there))
        if not reach.met:
            if any(name.startswith(CAPABILITY_PREFIX) for name, _ in _decisive(self.needs, needed, Presence.UNKNOWN)):
                needed = tuple(sorted(needed, key=lambda name: not name.startswith(CAPABILITY_PREFIX)))
            return self.unknown(Rule.INTRODUCTION_UNKNOWN, needed, self.needs)
        if not fix.excluded:
            return self.unknown(Rule.FIX_UNKNOWN, fixes)
        return self.affected(needed, fixes, reach.confidence, fix.confidence)

    def unreachable(self, needed: Sequence[str], confidence: int) -> Verdict:
        """Returns the verdict if something that the defect needs is absent."""
        missing = _decisive(self.needs, needed, Presence.ABSENT) or _decisive(self.needs, needed, Presence.PRESENT)
        capability = next((pair for pair in missing if pair[0].startswith(CAPABILITY_PREFIX)), None)
        if capability is not None:
            brief = f"no {capability[0].removeprefix(CAPABILITY_PREFIX)}"
            reason = f"cannot be reached: {_cite([capability])}"
            return self.verdict(State.NOT_AFFECTED, Rule.CAPABILITY_ABSENT, brief, reason, confidence)
        reason = f"never introduced: needs {self.defect.reachable}; absent: {_cite(missing)}"
        return self.verdict(State.NOT_AFFECTED, Rule.NEVER_INTRODUCED, f"no {missing[0][0]}", reason, confidence)

    def affected(self, needed: Sequence[str], fixes: Sequence[str], reach: int, fix: int) -> Verdict:
        """Returns the verdict if all that the defect needs is present and its fix is absent; `reach` and `fix` are the
        confidences of the two.
        """
        because = _cite(_decisive(self.needs, needed, Presence.PRESENT))
        if self.defect.fixed is None and self.facts.newer_than is not None:
            reason = f"whether a fix has come since is unknown: none was known through {self.facts.newer_than}; reachable: {because}"
            settle = f"git log --oneline v{self.facts.newer_than}.. -- kernel/bpf arch/*/net   in a clone of mainline"
            return self.verdict(State.UNKNOWN, Rule.FIX_UNKNOWN, "a fix since?", reason, Confidence.LOW, settle)
        if self.defect.fixed is None:
            reason = f"reachable: {because}; no fix is known"
            return self.verdict(State.AFFECTED, Rule.NO_FIX_KNOWN, "no fix known", reason, reach)
        gone = _decisive(self.weighed, fixes, Presence.ABSENT)
        reason = f"the fix is absent: {_cite(gone)}; reachable: {because}"
        return self.verdict(State.AFFECTED, Rule.FIX_ABSENT, f"no {gone[0][0]}", reason, min(reach, fix))


def judge(defect: Defect, facts: Facts, architecture: str | None) -> Verdict:
    """Judges one defect for one architecture (None: it is not known, and the defect does not depend on it)."""
    case = _Case(defect, facts, architecture)
    if facts.architecture is not None and defect.architectures and facts.architecture not in defect.architectures:
        names = ", ".join(defect.architectures)
        return case.verdict(
            State.NOT_AFFECTED,
            Rule.OTHER_ARCHITECTURE,
            "other architecture",
            f"in code of {names} only; this kernel is {facts.architecture}",
            Confidence.HIGH,
        )
    excluded = excluded_by_config(defect, facts)
    if excluded is not None:
        return case.excluded(excluded)
    decided = case.decide()
    # What shows the commits themselves is stronger: functions only exclude what else would not be safe.
    unsafe = decided.state in (State.AFFECTED, State.UNKNOWN)
    shown = excluded_by_functions(defect, facts) if unsafe else None
    return decided if shown is None else case.excluded(shown)
