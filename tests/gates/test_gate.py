"""The gate: the truth table of docs/gates.md, waivers, and what is let through."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit import Catalog, Confidence, Rule, State
from tailcall_audit.analyzer.app.gating import EXIT_CODES
from tailcall_audit.analyzer.gates.gate import (
    Gate,
    Outcome,
    Tally,
    decide,
    gated,
    gated_report,
    let_through,
    tally,
    unused,
)
from tailcall_audit.analyzer.gates.settings import Value
from tailcall_audit.analyzer.gates.words import outcomes_of
from tailcall_audit.analyzer.model import Skipped, TargetKind, TargetReport
from tests.gates.examples import contradicted, report, target, verdict, waiver

DOCS = Path(__file__).parents[2] / "docs/gates.md"


def seen_by(gate: Gate, subject: TargetReport) -> TargetReport:
    (found,) = gated((subject,), gate)
    return found


LISTS = ("affected,unknown", "affected", "unknown", "contradicted")


def rows() -> list[tuple[str, str, list[int]]]:
    """The truth table as the documentation has it, written by hand."""
    table = DOCS.read_text().partition("| found ")[2].partition("\n\n")[0]
    lines = [line.strip("|\n ").split(" | ") for line in f"| found {table}".splitlines() if line.startswith("| ")]
    assert lines[0][2:] == [f"`{name}`" for name in LISTS]
    return [(cells[0], cells[1], [int(cell) for cell in cells[2:]]) for cells in lines[1:]]


@pytest.mark.parametrize(("found", "confidence", "codes"), rows())
def test_the_truth_table(catalog: Catalog, found: str, confidence: str, codes: list[int]) -> None:
    what, _, waived = found.partition(", ")
    level = Confidence.HIGH if confidence == "enough" else Confidence.LOW
    subject: TargetReport | Skipped
    if what == "skipped":
        subject = Skipped("/srv/vmlinuz", "no kernel")
    elif what == "contradicted":
        subject = target(contradicted(verdict(catalog, State.AFFECTED, level)))
    else:
        subject = target(verdict(catalog, State(what), level))
    waivers = (waiver(expired="expired" in waived),) if waived else ()
    for words, code in zip(LISTS, codes, strict=True):
        gate = Gate(outcomes_of(Value("fail-on", words, "command line")), Confidence.MEDIUM, waivers)
        seen = subject if isinstance(subject, Skipped) else seen_by(gate, subject)
        assert EXIT_CODES[decide(tally(seen), gate)] == code, words


def test_the_truth_table_is_whole() -> None:
    plain = ("contradicted", *(state.value for state in State), "skipped")
    found = [(row[0], row[1]) for row in rows()]
    assert len(set(found)) == len(found)
    assert {pair for pair in found if "," not in pair[0]} == set(product(plain, ("enough", "below")))


def test_what_kernels_share_they_share_behind_the_gate(catalog: Catalog) -> None:
    """A report of a thousand kernels writes a verdict that is one object once."""
    item = verdict(catalog, State.AFFECTED)
    for gate in (Gate(waivers=(waiver(),)), Gate(minimum=Confidence.HIGH), Gate(waivers=(waiver("5.*"),))):
        one, other = gated((target(item), target(item)), gate)
        assert one.verdicts[0] is other.verdicts[0]


def test_without_a_minimum_and_waivers_nothing_changes() -> None:
    before = report("6.1.170", "5.14.0-427.el9.x86_64")
    after, found = gated_report(before, Gate())
    assert after == before
    assert found.affected > 0
    assert found.unknown > 0
    assert decide(found, Gate()) is Outcome.AFFECTED


@pytest.mark.parametrize("state", [State.AFFECTED, State.FIXED, State.NOT_AFFECTED])
def test_a_weak_verdict_is_unknown_with_its_reason(catalog: Catalog, state: State) -> None:
    weak = verdict(catalog, state, Confidence.LOW)
    (item,) = seen_by(Gate(minimum=Confidence.MEDIUM), target(weak)).verdicts
    assert (item.state, item.rule, item.confidence) == (State.UNKNOWN, Rule.LOW_CONFIDENCE, Confidence.LOW)
    assert item.reason == f"{state.value} with low confidence, and medium is asked for: {weak.reason}"
    assert item.settle
    assert item.fixed_by == ()
    assert item.evidence == weak.evidence


def test_a_waiver_changes_no_verdict(catalog: Catalog) -> None:
    before = target(verdict(catalog, State.AFFECTED))
    (item,) = seen_by(Gate(waivers=(waiver(),)), before).verdicts
    assert item.waived
    assert item._replace(waiver=None) == before.verdicts[0]


@pytest.mark.parametrize(
    ("kernel", "name", "identity", "waived"),
    [
        ("6.1.*", "6.1.170", {"release": "6.1.170"}, True),
        ("6.1.0-47-*", "worker-3", {"release": "6.1.0-47-amd64", "upstream": "6.1.170"}, True),
        ("6.1.170", "worker-3", {"release": "6.1.0-47-amd64", "upstream": "6.1.170"}, True),
        ("6.1.170-3", "linux-image 6.1.170-3", {"package": "6.1.170-3"}, True),
        ("worker-3", "worker-3", {"release": "6.1.0-47-amd64"}, True),
        ("6.1", "6.1.170", {"release": "6.1.170"}, False),
        ("6.10.*", "6.1.170", {"release": "6.1.170"}, False),
        ("*", "6.1.170", {"release": None}, True),
    ],
)
def test_what_a_pattern_names(
    catalog: Catalog, kernel: str, name: str, identity: dict[str, str | None], waived: bool
) -> None:
    subject = target(verdict(catalog, State.AFFECTED))._replace(
        label=name, identity=identity, kind=TargetKind.PACKAGE, is_running=True
    )
    assert subject.name == f"{name} (running)"
    (item,) = seen_by(Gate(waivers=(waiver(kernel),)), subject).verdicts
    assert item.waived is waived


def test_a_waiver_is_of_its_defect_only(catalog: Catalog) -> None:
    (item,) = seen_by(Gate(waivers=(waiver("*", "freplace-loop"),)), target(verdict(catalog, State.AFFECTED))).verdicts
    assert item.waiver is None


def test_a_waiver_that_holds_goes_before_one_that_expired(catalog: Catalog) -> None:
    waivers = (waiver(expired=True), waiver("6.*"))
    gate = Gate(waivers=waivers)
    found = tally(seen_by(gate, target(verdict(catalog, State.AFFECTED))))
    assert decide(found, gate) is Outcome.PASSED
    assert unused(found, gate) == waivers[:1]


def test_a_waiver_of_a_kernel_that_is_fixed_is_not_used(catalog: Catalog) -> None:
    gate = Gate(waivers=(waiver(), waiver("*", "freplace-loop")))
    found = tally(seen_by(gate, target(verdict(catalog, State.FIXED))))
    assert unused(found, gate) == gate.waivers[:1]  # freplace-loop was not looked for


def test_what_is_let_through_is_counted(catalog: Catalog) -> None:
    gate = Gate(outcomes_of(Value("fail-on", "affected", "command line")))
    found = tally(target(verdict(catalog, State.UNKNOWN))) + tally(Skipped("x", "y"))
    assert decide(found, gate) is Outcome.PASSED
    assert let_through(found, gate) == {Outcome.UNKNOWN: 2}


numbers = st.integers(min_value=0, max_value=3)
tallies = st.builds(Tally, numbers, numbers, numbers, numbers, numbers, numbers, numbers)
lists = st.sets(st.sampled_from([Outcome.AFFECTED, Outcome.UNKNOWN])).map(frozenset)


@given(tallies, tallies, lists)
def test_more_findings_never_end_better(one: Tally, other: Tally, fail_on: frozenset[Outcome]) -> None:
    gate = Gate(fail_on)
    order = list(Outcome)
    assert order.index(decide(one + other, gate)) == min(
        order.index(decide(one, gate)), order.index(decide(other, gate))
    )


@given(tallies, lists)
def test_what_passes_is_either_nothing_or_let_through(found: Tally, fail_on: frozenset[Outcome]) -> None:
    gate = Gate(fail_on)
    if decide(found, gate) is Outcome.PASSED:
        open_ones = {item for item in Outcome if found.count(item)}
        assert set(let_through(found, gate)) == open_ones
        assert found.contradicted == found.lapsed_affected == found.lapsed_unknown == 0


def test_a_report_is_counted_as_its_targets_are(catalog: Catalog) -> None:
    whole = report("6.1.170", "6.12.117")
    _, found = gated_report(whole, Gate())
    verdicts = [item for each in whole.targets for item in each.verdicts]
    assert found.affected == sum(item.state is State.AFFECTED for item in verdicts)
    assert found.audited == {item.slug for item in catalog.defects}
