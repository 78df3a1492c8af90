"""The policy: evidence in, one verdict a defect out. Nothing else decides.

The rules, in the order in which they are tried (each is a member of `tailcall_audit.analyzer.model.Rule`):

- other-architecture: the defect is in code of another architecture than the audited one.
- config-excludes: the configuration is of this kernel, and an option that the defect needs is off.
- capability-absent: the architecture cannot do what the defect needs.
- never-introduced: what the defect needs is surely not there.
- fix-present: a complete fix is there.
- introduction-unknown, fix-unknown: what decides is not known.
- no-fix-known, fix-absent: what it needs is there, and no complete fix is. If no fix was known when the catalogue was
  made, a kernel of a later mainline release leaves it open (fix-unknown).

Evidence about a commit is ranked (`RANK`), and the higher rank wins (`weigh`): functions of an image that were run, the
sources, an image's machine code, its type data, the history, a patch queue, what a changelog lists, a distribution's
series, the release, the day of the build. A changelog's silence ranks last, because the release survey answers the same
question better. If a high-ranking source was read but not understood (an unknown code shape, a partial revert), the
answer is unknown: lower ranks may not overrule it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tailcall_audit.analyzer.architecture import ARCHITECTURES
from tailcall_audit.analyzer.catalog.expression import Interval, evaluate, leaves
from tailcall_audit.analyzer.catalog.types import CAPABILITY_PREFIX, Catalog, Defect
from tailcall_audit.analyzer.kernelfiles.kconfig import KernelConfig
from tailcall_audit.analyzer.model import (
    Confidence,
    Disagreement,
    Evidence,
    EvidenceKind,
    Presence,
    Rule,
    State,
    Verdict,
)
from tailcall_audit.analyzer.readers.registry import RANK

__all__ = ["Facts", "Weighed", "judge", "judge_all", "overruled_by_code", "weigh"]

_PLACES = {
    EvidenceKind.EMULATION: "the binary",
    EvidenceKind.CODE: "the binary",
    EvidenceKind.BTF: "the binary",
    EvidenceKind.SOURCE: "the source",
}
"""Where evidence that is code was seen. It outranks what a log or a version says."""
_CONTESTED = (
    EvidenceKind.SOURCE,
    EvidenceKind.CODE,
    EvidenceKind.HISTORY,
    EvidenceKind.PATCH_QUEUE,
    EvidenceKind.CHANGELOG,
    EvidenceKind.SERIES,
)


_MOST_SEEN = 50_000
"""Pieces of evidence that are remembered: a thousand kernels have some ten thousand different ones."""


class _Remembered:
    """What was decided before: a fleet has many kernels of which a reader says the same about most commits.

    Evidence has numbers. `weighed` is by the numbers of the evidence about a name, `verdicts` by those of all that a
    defect depends on.
    """

    def __init__(self) -> None:
        self.numbers: dict[Evidence, int] = {}
        self.weighed: dict[tuple[object, ...], tuple[list[Evidence], Weighed, Weighed]] = {}
        self.verdicts: dict[tuple[object, ...], tuple[Defect, tuple[Verdict, ...]]] = {}


class _Memory:
    """Keeps what was decided with one catalogue, within a bound."""

    def __init__(self) -> None:
        self._catalog: Catalog | None = None
        self._known = _Remembered()

    def of(self, catalog: Catalog) -> _Remembered:
        if self._catalog is not catalog or len(self._known.numbers) > _MOST_SEEN:
            self._catalog, self._known = catalog, _Remembered()
        return self._known


_MEMORY = _Memory()


class Facts:
    """What the readers saw of one target.

    `config_applies` is True if the configuration is of this kernel, so that options that are off can rule defects out.
    `live_patched` keeps every answer from being certain. `architecture` is None when the target has none. `newer_than`
    is the newest mainline release of the catalogue if the target is of a later one: what has no fix by then may have
    one since.
    """

    def __init__(
        self,
        evidence: Iterable[Evidence],
        architecture: str | None = None,
        config: KernelConfig | None = None,
        config_applies: bool = False,
        live_patched: bool = False,
        newer_than: str | None = None,
    ) -> None:
        self.architecture = architecture
        self.newer_than = newer_than
        self.config = config
        self.config_applies = config_applies
        self.live_patched = live_patched
        self._by_key: dict[str, list[Evidence]] = {}
        self._marks: dict[str, tuple[int, ...]] = {}
        self.known = _Remembered()
        """What was decided before with the same catalogue."""
        for item in evidence:
            self._by_key.setdefault(item.commit, []).append(item)

    def marks(self, name: str, numbers: dict[Evidence, int]) -> tuple[int, ...]:
        """Returns the numbers of the evidence about a commit or capability; what is new gets the next ones."""
        found = self._marks.get(name)
        if found is None:
            found = tuple([numbers.setdefault(item, len(numbers)) for item in self._by_key.get(name, ())])
            self._marks[name] = found
        return found

    def about(self, key: str, architecture: str | None) -> list[Evidence]:
        """Returns the evidence about a commit or capability that holds for an architecture."""
        return [item for item in self._by_key.get(key, ()) if item.architecture in (None, architecture)]


class Weighed(NamedTuple):
    """All evidence about one commit, weighed: the answer, what decided, and what disagrees with it."""

    presence: Presence
    confidence: Confidence
    decisive: Evidence | None
    disagreements: tuple[str, ...] = ()

    @property
    def interval(self) -> Interval:
        """The answer on the scale of `tailcall_audit.analyzer.catalog.expression`."""
        if self.presence is Presence.UNKNOWN:
            return Interval(0, 2, 0)
        value = 2 if self.presence is Presence.PRESENT else 0
        return Interval(value, value, int(self.confidence))


def _say(item: Evidence) -> str:
    return f"{item.kind.value} says {item.presence.value} ({item.detail or item.citation})"


def _of_one_kind(items: Sequence[Evidence]) -> tuple[Evidence, tuple[str, ...]]:
    """Returns the statement that several of one kind amount to, and, where they disagree, what each of them says."""
    known = [item for item in items if item.presence is not Presence.UNKNOWN]
    contested = [item for item in items if item.presence is Presence.UNKNOWN and not item.unreadable]
    if not known:
        return (contested or list(items))[0], ()
    if len({item.presence for item in known}) == 1 and not (contested and items[0].kind in _CONTESTED):
        return max(known, key=lambda item: (not item.conditional, item.confidence)), ()
    first = known[0]
    detail = f"{first.kind.value} contradicts itself: " + "; ".join(_say(item) for item in (*known, *contested))
    combined = first._replace(
        presence=Presence.UNKNOWN, confidence=Confidence.LOW, detail=detail, conditional=False, unreadable=False
    )
    return combined, tuple(_say(item) for item in known)


def weigh(items: Sequence[Evidence]) -> Weighed:
    """Weighs the evidence about one commit.

    Several statements of one kind count as one where they agree. Where they disagree, nothing of that kind decides, and
    nothing that ranks below it.
    """
    if len(items) == 1 and items[0].kind in RANK:
        only = items[0]
        if only.presence is Presence.UNKNOWN or only.conditional:
            return Weighed(Presence.UNKNOWN, Confidence.LOW, only)
        return Weighed(only.presence, only.confidence, only)
    by_kind: dict[EvidenceKind, list[Evidence]] = {}
    for item in items:
        by_kind.setdefault(item.kind, []).append(item)
    best: dict[EvidenceKind, Evidence] = {}
    torn: dict[EvidenceKind, tuple[str, ...]] = {}
    for kind, group in by_kind.items():
        best[kind], torn[kind] = _of_one_kind(group)
    ranked = [best[kind] for kind in RANK if kind in best]
    if not ranked:
        return Weighed(Presence.UNKNOWN, Confidence.LOW, None)
    for item in ranked:
        if item.presence is Presence.UNKNOWN and (torn[item.kind] or (item.kind in _CONTESTED and not item.unreadable)):
            # It was read and not understood: code of an unknown shape, a partial revert, a changelog entry that lists a fix
            # and its revert. Lower ranks know less about this kernel: they are shown and decide nothing.
            others = tuple(_say(other) for other in ranked if other.presence is not Presence.UNKNOWN)
            return Weighed(Presence.UNKNOWN, Confidence.LOW, item, (*torn[item.kind], *others))
        # A backport whose message mentions conflicts proves the fix only if the code agrees, and the code gave no answer.
        if item.presence is Presence.UNKNOWN or item.conditional:
            continue
        others = tuple(_say(other) for other in ranked if other.presence not in (Presence.UNKNOWN, item.presence))
        confidence = item.confidence
        if item.kind in (EvidenceKind.CODE, EvidenceKind.BTF):
            # They may show only a part of a fix: a source that agrees with them may have more confidence.
            confidence = max(other.confidence for other in ranked if other.presence is item.presence)
        return Weighed(item.presence, confidence, item, others)
    # What is there on a condition is nearer to an answer than what was not read.
    nearest = sorted(ranked, key=lambda item: not item.conditional)
    return Weighed(Presence.UNKNOWN, Confidence.LOW, next((item for item in nearest if item.settle), ranked[0]))


def _decisive(weighed: dict[str, Weighed], names: Iterable[str], presence: Presence) -> list[tuple[str, Weighed]]:
    return [(name, weighed[name]) for name in dict.fromkeys(names) if weighed[name].presence is presence]


def _cite(pairs: Sequence[tuple[str, Weighed]]) -> str:
    parts = []
    for name, item in pairs:
        because = "" if item.decisive is None else f" ({item.decisive.detail or item.decisive.citation})"
        parts.append(f"{name.removeprefix(CAPABILITY_PREFIX)}{because}")
    return "; ".join(parts)


def _config_excludes(defect: Defect, facts: Facts) -> tuple[str, Evidence] | None:
    """Returns the options that exclude the defect, when the configuration may say so."""
    if facts.config is None or not facts.config_applies:
        return None
    config = facts.config
    if not evaluate(defect.config, config.value).excluded:
        return None
    values = ", ".join(
        f"CONFIG_{name}={config.options.get(name, 'n')}" for name in dict.fromkeys(leaves(defect.config))
    )
    item = Evidence(EvidenceKind.CONFIG, "", Presence.ABSENT, config.path, f"needs {defect.config}; {values}")
    return values, item


def _proves_no_absence(item: Evidence) -> bool:
    """Returns True if evidence that a commit is absent does not count for what a defect needs.

    What a function does shows whether a fix works, and a defect that never came in behaves as well as one that is
    fixed. A build date may be that of the sources, which were patched afterwards: reproducible builds stamp so.
    """
    return item.kind in (EvidenceKind.EMULATION, EvidenceKind.BUILD_DATE) and item.presence is Presence.ABSENT


def _without_guess(item: Evidence, safe: Presence) -> Evidence:
    """Returns the statement, or an unknown in its place if it rests on an unverified release and would make a verdict
    safe.
    """
    if not item.guessed or item.presence is not safe:
        return item
    detail = f"{item.detail} (not verified)"
    return item._replace(presence=Presence.UNKNOWN, confidence=Confidence.LOW, detail=detail, unreadable=True)


def _both_ways(
    facts: Facts, name: str, architecture: str | None, unproven: bool
) -> tuple[list[Evidence], Weighed, Weighed]:
    """Returns the evidence about a name, and weighs it as a fix and as what a defect needs."""
    for_all = not name.startswith(CAPABILITY_PREFIX)
    key = (facts.marks(name, facts.known.numbers), None if for_all else architecture, unproven)
    found = facts.known.weighed.get(key)
    if found is None:
        items = facts.about(name, architecture)
        if unproven:
            items = [item._replace(guessed=True) for item in items]
        fixes = weigh([_without_guess(item, Presence.PRESENT) for item in items])
        needed = [item for item in items if not _proves_no_absence(item)]
        needs = weigh([_without_guess(item, Presence.ABSENT) for item in needed])
        found = facts.known.weighed[key] = (items, fixes, needs)
    return found


class _Case:
    """One defect on one architecture: the evidence weighed once, and the verdict made from it."""

    def __init__(self, defect: Defect, facts: Facts, architecture: str | None) -> None:
        self.defect = defect
        self.facts = facts
        self.evidence: list[Evidence] = []
        self.weighed: dict[str, Weighed] = {}
        self.needs: dict[str, Weighed] = {}
        """The same as what the defect needs: see `_proves_no_absence`."""
        for name in (*defect.commits, *defect.capabilities):
            items, self.weighed[name], self.needs[name] = _both_ways(facts, name, architecture, name in defect.unproven)
            self.evidence += items

    def verdict(
        self, state: State, rule: Rule, brief: str, reason: str, confidence: int, settle: str | None = None
    ) -> Verdict:
        level = Confidence(max(1, min(confidence, 3)))
        if self.facts.live_patched:
            level = min(level, Confidence.MEDIUM) if state in (State.AFFECTED, State.FIXED) else level
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
        )

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
        """Returns the verdict where something that the defect needs is not there."""
        missing = _decisive(self.needs, needed, Presence.ABSENT) or _decisive(self.needs, needed, Presence.PRESENT)
        capability = next((pair for pair in missing if pair[0].startswith(CAPABILITY_PREFIX)), None)
        if capability is not None:
            brief = f"no {capability[0].removeprefix(CAPABILITY_PREFIX)}"
            reason = f"cannot be reached: {_cite([capability])}"
            return self.verdict(State.NOT_AFFECTED, Rule.CAPABILITY_ABSENT, brief, reason, confidence)
        reason = f"never introduced: needs {self.defect.reachable}; absent: {_cite(missing)}"
        return self.verdict(State.NOT_AFFECTED, Rule.NEVER_INTRODUCED, f"no {missing[0][0]}", reason, confidence)

    def affected(self, needed: Sequence[str], fixes: Sequence[str], reach: int, fix: int) -> Verdict:
        """Returns the verdict where all that the defect needs is there and its fix is not, with these confidences."""
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


_LAST_RESORT = "tailcall-audit --tree PATH   on the sources that it was built from"


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
    excluded = _config_excludes(defect, facts)
    if excluded is not None:
        values, item = excluded
        case.evidence.insert(0, item)
        return case.verdict(
            State.NOT_AFFECTED,
            Rule.CONFIG_EXCLUDES,
            "by config",
            f"cannot be reached with {values} (needs {defect.config})",
            Confidence.HIGH,
        )
    return case.decide()


def _architectures_to_try(defect: Defect, facts: Facts, catalog: Catalog) -> tuple[str, ...]:
    """Returns the architectures on which the answer may differ, when the target does not have one."""
    if defect.architectures:
        return defect.architectures
    able = [set(catalog.capabilities[name].present_from) for name in defect.capabilities]
    return tuple(name for name in ARCHITECTURES if all(name in group for group in able)) if able else ()


def _merge(verdicts: Sequence[tuple[str, Verdict]]) -> tuple[Verdict, ...]:
    """One line for each different answer, with the architectures that it holds for."""
    groups: dict[State, list[tuple[str, Verdict]]] = {}
    for architecture, verdict in verdicts:
        groups.setdefault(verdict.state, []).append((architecture, verdict))
    merged = []
    for members in groups.values():
        first = members[0][1]
        reasons: dict[str, list[str]] = {}
        for architecture, verdict in members:
            reasons.setdefault(verdict.reason, []).append(architecture)
        reason = (
            first.reason
            if len(reasons) == 1
            else "; ".join(f"{', '.join(names)}: {text}" for text, names in reasons.items())
        )
        confidence = min(verdict.confidence for _, verdict in members)
        evidence = tuple(dict.fromkeys(item for _, verdict in members for item in verdict.evidence))
        architectures = tuple(name for name, _ in members)
        merged.append(
            first._replace(confidence=confidence, reason=reason, evidence=evidence, architectures=architectures)
        )
    return tuple(merged)


def _judge_everywhere(catalog: Catalog, defect: Defect, facts: Facts) -> tuple[Verdict, ...]:
    """Judges one defect, for all architectures that it may differ on where the target has none."""
    if facts.architecture is not None:
        return (judge(defect, facts, facts.architecture),)
    candidates = _architectures_to_try(defect, facts, catalog)
    if not candidates:
        return (judge(defect, facts, None),)
    return _merge([(name, judge(defect, facts, name)) for name in candidates])


def judge_all(catalog: Catalog, facts: Facts, defects: Sequence[Defect]) -> tuple[Verdict, ...]:
    """Judge defects in pitfall order; without a known architecture each is judged for all that it may differ on."""
    ordered = sorted(defects, key=lambda defect: defect.pitfall or 99)
    if facts.config is not None:
        return tuple(item for defect in ordered for item in _judge_everywhere(catalog, defect, facts))
    facts.known = _MEMORY.of(catalog)
    return tuple([item for defect in ordered for item in _remembered(catalog, defect, facts)])


def _remembered(catalog: Catalog, defect: Defect, facts: Facts) -> tuple[Verdict, ...]:
    """Returns the verdicts on a defect, of which no configuration says anything; each such case is decided once."""
    marks = [facts.marks(name, facts.known.numbers) for name in (*defect.commits, *defect.capabilities)]
    key = (defect.slug, facts.architecture, facts.live_patched, facts.newer_than, *marks)
    found = facts.known.verdicts.get(key)
    if found is None or found[0] is not defect:
        found = facts.known.verdicts[key] = (defect, _judge_everywhere(catalog, defect, facts))
    return found[1]


def _in_code(verdict: Verdict, commit: str) -> Evidence | None:
    """Returns the strongest evidence about a commit that is code, and not what a log or a version says."""
    return next(
        (
            item
            for kind in _PLACES
            for item in verdict.evidence
            if item.commit == commit and item.kind is kind and item.presence is not Presence.UNKNOWN
        ),
        None,
    )


def overruled_by_code(verdicts: Iterable[Verdict]) -> list[str]:
    """Returns a note on each commit of which the binary or the source says something else than the log or the version."""
    notes: dict[str, str] = {}
    for item in verdicts:
        for disagreement in item.disagreements:
            said = _in_code(item, disagreement.commit)
            if said is not None:
                has = "is in" if said.presence is Presence.PRESENT else "is not in"
                seen = said.detail.partition(" (")[0]
                notes[disagreement.commit] = (
                    f"{disagreement.commit} {has} {_PLACES[said.kind]}: {seen}; but {disagreement.text}"
                )
    return list(notes.values())
