"""Renders a report of many nodes with few kernels: one row a kernel, the worst first. The names of the nodes are
optional.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from textwrap import wrap
from typing import NamedTuple

from tailcall_audit.analyzer.formats.lines import facts, settlements, shown, skipped
from tailcall_audit.analyzer.formats.matrix import CELLS
from tailcall_audit.analyzer.formats.plain import aligned
from tailcall_audit.analyzer.formats.registry import Changes, View
from tailcall_audit.analyzer.model import Report, State, TargetReport
from tailcall_audit.analyzer.text import printable

__all__ = ["CHANGES", "render"]

LAYOUT = True
CHANGES = Changes.TEXT

_MOST_COLUMNS = 8
_FEW_NAMES = 3
_WIDTH = 118
_RELEASE = 44
_WORST = (State.AFFECTED, State.UNKNOWN, State.FIXED, State.NOT_AFFECTED)


class _Kernel(NamedTuple):
    """A kernel of the fleet: its report and the names of the nodes that run it."""

    target: TargetReport
    names: list[str]

    @property
    def rank(self) -> tuple[object, ...]:
        """The sort key of the rows: more affected first, then more unknown, then more nodes, then by name."""
        states = list(self.target.states.values())
        return (-states.count(State.AFFECTED), -states.count(State.UNKNOWN), -len(self.names), self.target.name)


def _kernels(report: Report) -> list[_Kernel]:
    found = [_Kernel(target, []) for target in report.targets]
    for node in report.nodes:
        if node.kernel is not None:
            found[node.kernel].names.append(node.name)
    return sorted(found, key=lambda item: item.rank)


class _Column(NamedTuple):
    """A column: its title, and the slugs of its defects. It shows the worst verdict on these."""

    title: str
    slugs: tuple[str, ...]

    def cell(self, states: Mapping[str, State]) -> str:
        """Returns the worst of a kernel's verdicts on these defects. Empty if it has none, for example because the code
        is of another architecture.
        """
        here = {states[slug] for slug in self.slugs if slug in states}
        return next((CELLS[state] for state in _WORST if state in here), "")


def _columns(report: Report, everything: bool) -> tuple[list[_Column], list[str]]:
    """Returns the columns, and the slugs of the defects that are only counted: if there are many, those that are not
    pitfalls.
    """
    seen = {item.defect.slug: item.defect for target in report.targets for item in shown(target, everything)}
    if len(seen) <= _MOST_COLUMNS:
        return [_Column(slug, (slug,)) for slug in seen], []
    pitfalls: dict[int, list[str]] = {}
    for slug, defect in seen.items():
        if defect.pitfall is not None:
            pitfalls.setdefault(defect.pitfall, []).append(slug)
    columns = [_Column(str(number), tuple(slugs)) for number, slugs in sorted(pitfalls.items())]
    return columns, [slug for slug, defect in seen.items() if defect.pitfall is None]


def _states(target: TargetReport, everything: bool) -> dict[str, State]:
    slugs = {item.defect.slug for item in shown(target, everything)}
    return {slug: state for slug, state in target.states.items() if slug in slugs}


def _name(target: TargetReport) -> str:
    """Returns the release, and the package if the build string names one."""
    package = target.identity.get("package")
    name = target.name if package is None else f"{target.name} ({package})"
    return printable(name, _RELEASE)


def _table(
    kernels: Sequence[_Kernel], columns: Sequence[_Column], others: Sequence[str], everything: bool
) -> list[str]:
    table = [["NODES", "KERNEL", "ARCH", *(column.title for column in columns), *(["OTHERS"] if others else [])]]
    for target, names in kernels:
        states = _states(target, everything)
        rest = [states.get(slug) for slug in others]
        counts = [
            f"{rest.count(state)} {state.value}" for state in (State.AFFECTED, State.UNKNOWN) if rest.count(state)
        ]
        cells = [column.cell(states) for column in columns]
        number = f"{len(names):,}".rjust(5)
        row = [number, _name(target), target.identity.get("architecture") or "any", *cells]
        table.append([*row, *([", ".join(counts) or "none"] if others else [])])
    return aligned(table)


def _lettered(columns: Sequence[_Column]) -> tuple[list[_Column], list[str]]:
    """Returns the columns with letters for titles, and lines that say what each letter stands for."""
    lettered = [_Column(letter, slugs) for letter, (_, slugs) in zip(ascii_uppercase, columns, strict=False)]
    legend = wrap(", ".join(f"{item.title}\0{item.slugs[0]}" for item in lettered), _WIDTH, break_on_hyphens=False)
    return lettered, [line.replace("\0", ": ") for line in legend]


def _unread(report: Report) -> list[str]:
    """Returns a line for each reason why nodes could not be judged, with the number of nodes."""
    reasons: dict[str, list[str]] = {}
    for node in report.nodes:
        if node.skipped is not None:
            reasons.setdefault(node.skipped, []).append(node.name)
    lines = []
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1]))[:20]:
        first = ", ".join(names[:_FEW_NAMES]) + (", …" if len(names) > _FEW_NAMES else "")
        lines.append(printable(f"not judged: {len(names):,} ({first}): {reason}"))
    if len(reasons) > 20:
        lines.append(f"not judged: {len(reasons) - 20:,} more reasons; --format jsonl has each node's own")
    return lines


def _plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _summary(report: Report, kernels: Sequence[_Kernel], everything: bool) -> str:
    """Returns the last line: how many nodes run a kernel with an affected, an unknown or neither verdict."""
    counts = dict.fromkeys(_WORST, 0)
    for target, names in kernels:
        states = {item.state for item in shown(target, everything)}
        worst = next((state for state in _WORST if state in states), State.NOT_AFFECTED)
        counts[worst if worst is not State.FIXED else State.NOT_AFFECTED] += len(names)
    unread = sum(node.skipped is not None for node in report.nodes)
    parts = [
        f"{counts[State.AFFECTED]:,} affected by something",
        f"{counts[State.UNKNOWN]:,} with something unknown and nothing known to be affected",
        f"{counts[State.NOT_AFFECTED]:,} with neither",
        *([f"{unread:,} not judged"] if unread else []),
    ]
    return f"{_plural(len(report.nodes), 'node')}, {_plural(len(report.targets), 'kernel')}: {', '.join(parts)}"


def _details(kernels: Sequence[_Kernel], view: View) -> Iterator[str]:
    """Yields the names of each kernel's nodes, and the commands that would settle its unknowns."""
    for target, names in kernels:
        yield f"{_name(target)}: {_plural(len(names), 'node')}"
        text = ", ".join(printable(name) for name in sorted(names))
        yield from wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
        for command, slugs in settlements(shown(target, view.everything)):
            yield f"  to settle {_plural(len(slugs), 'unknown')}: {command}"
        yield ""


def render(report: Report, view: View) -> str:
    """Returns the report on a fleet as text."""
    kernels = _kernels(report)
    columns, others = _columns(report, view.everything)
    table = _table(kernels, columns, others, view.everything)
    legend: list[str] = []
    if not others and max(map(len, table)) > _WIDTH:
        columns, legend = _lettered(columns)
        table = _table(kernels, columns, others, view.everything)
    out = [*table, "", *legend]
    if view.explain:
        out += _details(kernels, view)
    if others:
        out.append(
            "1 to 6: the worst verdict of each pitfall (tailcall-audit list); others: the other defects, which --only NAME,… shows"
        )
    out.append(f"{CELLS[State.NOT_AFFECTED]} not-affected, {CELLS[State.UNKNOWN]} unknown")
    if not view.explain:
        out.append(
            "--explain adds the names of the nodes; tailcall-audit --kernel STRING --explain says why of one kernel"
        )
    notes = [set(target.notes) for target in report.targets]
    common = [note for note in report.targets[0].notes if all(note in each for each in notes)] if notes else []
    out += [f"note: {printable(note)}" for note in common]
    out += skipped(report)
    out += _unread(report)
    return "\n".join([*out, facts(report), _summary(report, kernels, view.everything), ""])
