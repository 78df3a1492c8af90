"""The parts that all text formats share: the choice of verdicts, their cells, and the lines around them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.analyzer.basis import Basis, age_in_days
from tailcall_audit.analyzer.model import (
    Agreement,
    Evidence,
    Observation,
    Presence,
    Report,
    Rule,
    State,
    TargetReport,
    Verdict,
)
from tailcall_audit.analyzer.text import printable

if TYPE_CHECKING:
    from tailcall_audit.analyzer.exposure.types import Exposed

__all__ = [
    "Meaning",
    "Row",
    "columns",
    "contradictions",
    "details",
    "facts",
    "heading",
    "meaning",
    "programs_cell",
    "programs_reason",
    "programs_words",
    "rows",
    "settlements",
    "shown",
    "skipped",
    "summary",
    "waivers",
]

_COLUMNS = ("#", "DEFECT", "VERDICT", "CONF", "BECAUSE")
_SEEN, _PROGRAMS = "SEEN", "PROGRAMS"
_STATES = (State.AFFECTED, State.FIXED, State.NOT_AFFECTED, State.UNKNOWN)


class Row(NamedTuple):
    """One line of the table."""

    state: State
    cells: tuple[str, ...]
    contradicted: bool = False


def shown(target: TargetReport, everything: bool) -> tuple[Verdict, ...]:
    """Returns the verdicts to show: without `everything`, those of other architectures' code are left out."""
    return tuple(item for item in target.verdicts if everything or item.rule is not Rule.OTHER_ARCHITECTURE)


def _because(verdict: Verdict) -> str:
    """Returns the evidence that decided. For a defect with more than one line, also the architectures of the line."""
    names = verdict.architectures
    if not names or names == verdict.defect.architectures:
        return verdict.brief
    return ",".join(names) if len(names) < 3 else f"{names[0]},{names[1]},+{len(names) - 2}"


def _was_probed(verdicts: Sequence[Verdict]) -> bool:
    return any(item.observation is not None for item in verdicts)


def _has_programs(verdicts: Sequence[Verdict]) -> bool:
    return any(item.exposed is not None for item in verdicts)


def columns(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Returns the table's titles. There is a column for what was seen if something was probed, and one for programs if
    some were given.
    """
    seen = (_SEEN,) if _was_probed(verdicts) else ()
    programs = (_PROGRAMS,) if _has_programs(verdicts) else ()
    return (*_COLUMNS[:-1], *seen, *programs, _COLUMNS[-1])


class Meaning(Enum):
    """What a verdict means for the given programs, in a few words; the worst comes first."""

    HIT = "HIT"
    REFUSED = "refused"
    POSSIBLE_HIT = "possible hit"
    POSSIBLY_REFUSED = "possibly refused"
    NOT_REACHED = "not reached"


def meaning(verdict: Verdict) -> Meaning | None:
    """Returns what a verdict means for the given programs; None if it does not concern them, or none were given."""
    exposed = verdict.exposed
    if exposed is None:
        return None
    if exposed.hit is True:
        return Meaning.HIT
    if exposed.refused.is_met:
        return Meaning.REFUSED
    if exposed.hit is None:
        return Meaning.POSSIBLE_HIT
    if exposed.refused.is_possible:
        return Meaning.POSSIBLY_REFUSED
    return Meaning.NOT_REACHED if verdict.state is State.AFFECTED else None


def programs_cell(verdict: Verdict) -> str:
    """Returns what a verdict means for the given programs, for a table; empty if it does not concern them."""
    found = meaning(verdict)
    return "" if found is None else found.value


def programs_words(verdict: Verdict) -> str:
    """Returns the meaning of a verdict for the given programs, as text that follows a reason. Empty if none were given."""
    if verdict.exposed is None:
        return ""
    return f"; of the programs: {programs_cell(verdict) or 'no hit'} ({programs_reason(verdict.exposed)})"


def programs_reason(exposed: Exposed) -> str:
    """Returns why programs meet a defect or not; where the kernel refuses them and they meet no defect, the refusal."""
    refusal = exposed.refusal
    if exposed.hit is not False or refusal is None:
        return exposed.exposure.finding.reason
    return f"{refusal.errno}{f': {refusal.words}' if refusal.words else ''}: {refusal.finding.reason}"


def _seen(observation: Observation | None) -> str:
    """Returns what a probe saw, and its agreement with the prediction: ``absent, confirmed``."""
    if observation is None:
        return ""
    if observation.agreement is Agreement.NOT_OBSERVED:
        return "not observed"
    if observation.agreement is Agreement.CONTRADICTED:
        return f"{observation.state.value}, CONTRADICTED"
    return f"{observation.state.value}, {observation.agreement.value}"


def rows(verdicts: Sequence[Verdict]) -> list[Row]:
    """Returns the table's lines, in the order of the verdicts; cells as `columns` has them."""
    probed, joined = _was_probed(verdicts), _has_programs(verdicts)
    return [
        Row(
            item.state,
            (
                str(item.defect.pitfall or ""),
                item.defect.slug,
                item.state.value + (", waived" if item.waived else ""),
                item.confidence.label if item.state is not State.UNKNOWN else "",
                *((_seen(item.observation),) if probed else ()),
                *((programs_cell(item),) if joined else ()),
                printable(_because(item)),
            ),
            item.observation is not None and item.observation.agreement is Agreement.CONTRADICTED,
        )
        for item in verdicts
    ]


def heading(target: TargetReport) -> str:
    """Returns one line that names the kernel that was audited."""
    identity = target.identity
    parts = [target.name]
    upstream = identity.get("upstream")
    if upstream and upstream != target.name:
        parts.append(f"upstream {upstream}")
    parts += [value for key in ("distro", "package") if (value := identity.get(key)) and value not in parts]
    parts.append(identity.get("architecture") or "every architecture")
    if commit := identity.get("commit"):
        parts.append(f"at {commit[:12]}")
    return printable(" · ".join(parts))


def settlements(verdicts: Sequence[Verdict]) -> list[tuple[str, list[str]]]:
    """Returns the commands that would settle the unknowns, each with the slugs that it settles."""
    found: dict[str, list[str]] = {}
    for item in verdicts:
        if item.state is State.UNKNOWN and item.settle is not None:
            slugs = found.setdefault(printable(item.settle), [])
            if item.defect.slug not in slugs:
                slugs.append(item.defect.slug)
    return list(found.items())


def contradictions(verdicts: Sequence[Verdict]) -> list[str]:
    """Returns a line for each prediction that a probe contradicts: the prediction's reason, and what was seen."""
    return [
        printable(f"{item.defect.slug}: {text}")
        for item in verdicts
        if item.observation is not None and item.observation.agreement is Agreement.CONTRADICTED
        for text in item.disagreements[-1:]
    ]


def waivers(verdicts: Sequence[Verdict]) -> list[str]:
    """Returns a line for each verdict that a waiver names: what it accepts, through which day, by whom and why; or that
    it has expired.
    """
    lines = []
    for item in verdicts:
        if (waiver := item.waiver) is not None:
            word = "waiver EXPIRED" if waiver.expired else "waived"
            about = f"until {waiver.until}, by {waiver.who}: {waiver.reason}"
            lines.append(printable(f"{word}: {item.defect.slug} {about} ({waiver.source})"))
    return list(dict.fromkeys(lines))


def facts(report: Report) -> str:
    """Returns the line that says how old the catalogue is, and each survey that decided."""
    surveys = [item for item in report.rests_on() if item.name]
    ages = (
        f"{item} ({_days(age_in_days(item.date, report.today or item.date))})"
        for item in (Basis("", report.catalog.date), *surveys)
    )
    return printable(f"facts: {', '.join(ages)}", 4000)


def _days(number: int) -> str:
    return "of today" if number == 0 else f"{number} day{'s' if number > 1 else ''} old"


def skipped(report: Report) -> list[str]:
    """Returns a line for each input that could not be judged."""
    return [
        printable(f"skipped: {item.reason}" if item.label in item.reason else f"skipped: {item.label}: {item.reason}")
        for item in report.skipped
    ]


def summary(target: TargetReport, everything: bool) -> str:
    """Returns the last line: the number of verdicts in each state, and the number of those that are not shown."""
    seen = shown(target, everything)
    counts = [f"{sum(item.state is state for item in seen)} {state.value}" for state in _STATES]
    hidden = len(target.verdicts) - len(seen)
    more = f"; {waived} waived" if (waived := sum(item.waived for item in target.verdicts)) else ""
    more += f"; {hidden} in code of other architectures not shown (--all)" if hidden else ""
    probed = [item.observation for item in seen if item.observation is not None]
    if probed:
        observed = [
            f"{number} {agreement.value}"
            for agreement in Agreement
            if (number := sum(item.agreement is agreement for item in probed))
        ]
        more += f"; probes: {', '.join(observed)}"
    return ", ".join(counts) + more


def details(verdict: Verdict) -> list[str]:
    """Returns the evidence behind a verdict, as lines."""
    defect = verdict.defect
    title = f"{defect.slug}: {verdict.state.value}"
    if verdict.architectures:
        title += f" on {', '.join(verdict.architectures)}"
    lines = [
        title,
        f"  {defect.title}",
        f"  consequence: {defect.consequence}",
        f"  reason:      {_short(verdict.reason, verdict.evidence)}",
        f"  rule:        {verdict.rule.value}, confidence {verdict.confidence.label}",
    ]
    if (exposed := verdict.exposed) is not None:
        lines.append(
            f"  programs:    {programs_cell(verdict) or 'no matter'} ({exposed.exposure.state.label}): {programs_reason(exposed)}"
        )
    if (seen := verdict.observation) is not None:
        lines.append(f"  predicted:   {seen.predicted.value}")
        lines.append(f"  seen:        {seen.state.value} {seen.where}, {seen.agreement.value}: {seen.detail}")
    if verdict.settle:
        lines.append(f"  to settle:   {verdict.settle}")
    for text in verdict.disagreements:
        lines.append(f"  disagrees:   {text}")
    marks = {Presence.PRESENT: "has", Presence.ABSENT: "no", Presence.UNKNOWN: "?"}
    for item in verdict.evidence:
        if item.presence is Presence.UNKNOWN and verdict.state is not State.UNKNOWN:
            continue
        where = f" [{item.architecture}]" if item.architecture else ""
        first, *steps = item.steps or (item.detail or item.citation,)
        lines.append(f"  {item.kind.value + ':':12} {marks[item.presence]:3} {item.commit}{where}  {first}")
        lines += [f"  {'':12}     - {step}" for step in steps]
        if item.detail and item.citation not in item.detail:
            lines.append(f"  {'':12}     from {item.citation}")
    return [printable(line) for line in lines]


def _short(reason: str, evidence: Sequence[Evidence]) -> str:
    """Returns a reason without the part that is shown step by step below it."""
    for item in evidence:
        if item.steps:
            reason = reason.replace(f"({item.detail})", "(run in an emulator, below)")
    return reason
