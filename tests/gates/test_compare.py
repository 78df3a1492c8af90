"""What changed between two reports: worse, better, known, lost, and what is listed apart."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit import AuditError, State
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.formats.json import SCHEMA_VERSION
from tailcall_audit.analyzer.gates.compare import Trend, compare, decide_against
from tailcall_audit.analyzer.gates.gate import Gate, Outcome, Tally
from tailcall_audit.analyzer.gates.stored import NEWEST, Answer, Stored, StoredKernel, read_report, stored
from tests.gates.examples import report

REPORTS = Path(__file__).with_name("reports")
SAFE = (State.FIXED, State.NOT_AFFECTED)


def one(states: dict[str, State], name: str = "node-1", waived: bool = False, architecture: str = "") -> Stored:
    """A report of one kernel."""
    answers = {(slug, architecture): Answer(state, "because", waived) for slug, state in states.items()}
    return Stored(f"{name}.json", "2026-11-25", (StoredKernel(name, answers),), {}, {})


def fleet(kernels: list[State], nodes: dict[str, int], skipped: dict[str, str] | None = None) -> Stored:
    """A report of nodes, whose kernels have one defect in these states."""
    found = tuple(
        StoredKernel(f"6.1.{place}", {("x86-hierarchy", ""): Answer(state, "b", False)})
        for place, state in enumerate(kernels)
    )
    return Stored("fleet.json", "2026-11-25", found, skipped or {}, nodes)


@pytest.mark.parametrize(("before", "now"), [*product(State, State)])
def test_every_pair_of_states(before: State, now: State) -> None:
    found = compare(one({"x": before}), one({"x": now}))
    trends = [item.trend for item in found.changes]
    if before is now or (before in SAFE and now in SAFE):
        assert trends == []
    elif now is State.AFFECTED or (before in SAFE and now is State.UNKNOWN):
        assert trends == [Trend.WORSE]
    elif before is State.UNKNOWN:
        assert trends == [Trend.KNOWN]
    else:
        assert trends == [Trend.LOST if now is State.UNKNOWN else Trend.BETTER]
    assert bool(found.worse()) is (trends == [Trend.WORSE])


def test_what_a_waiver_accepts_is_shown_and_does_not_fail() -> None:
    found = compare(one({"x": State.FIXED}), one({"x": State.AFFECTED}, waived=True))
    assert [item.now.waived for item in found.changes] == [True]
    assert found.worse() == 0


def test_one_target_is_the_same_one_whatever_it_is_called() -> None:
    """A host has another kernel after an update."""
    found = compare(one({"x": State.AFFECTED}, "6.1.0-47-amd64"), one({"x": State.FIXED}, "6.1.0-48-amd64"))
    assert [(item.trend, item.units) for item in found.changes] == [
        (Trend.BETTER, ("6.1.0-47-amd64 -> 6.1.0-48-amd64",))
    ]
    assert (found.vanished, found.appeared) == ((), ())


def test_a_defect_of_a_newer_catalogue_is_apart() -> None:
    found = compare(one({"x": State.FIXED, "old": State.FIXED}), one({"x": State.FIXED, "new": State.AFFECTED}))
    assert [(item.defect, dict(item.states)) for item in found.new_defects] == [("new", {State.AFFECTED: 1})]
    assert found.not_asked == ("old",)
    assert found.worse() == 0


def test_nodes_are_compared_by_name_and_those_that_vanished_are_apart() -> None:
    old = fleet([State.FIXED, State.AFFECTED], {"a": 0, "b": 0, "c": 1, "gone": 1, "broken": 0})
    new = fleet([State.FIXED, State.AFFECTED], {"a": 0, "b": 1, "c": 0, "new": 1}, {"broken": "no kernel release"})
    found = compare(old, new)
    assert [(item.trend, item.units) for item in found.changes] == [(Trend.WORSE, ("b",)), (Trend.BETTER, ("c",))]
    assert (found.vanished, found.appeared) == (("gone",), ("new",))
    assert found.unreadable == {"broken": "no kernel release"}
    assert found.worse() == 2
    assert found.worse([State.AFFECTED]) == 1


def test_an_answer_for_all_architectures_is_one_for_each() -> None:
    everywhere = one({"x": State.FIXED})
    answers = {("x", "x86_64"): Answer(State.AFFECTED, "b", False), ("x", "arm64"): Answer(State.FIXED, "b", False)}
    apart = Stored("new.json", "", (StoredKernel("node-1", answers),), {}, {})
    (change,) = compare(everywhere, apart).changes
    assert (change.trend, change.architectures) == (Trend.WORSE, ("x86_64",))
    (change,) = compare(apart, everywhere).changes
    assert (change.trend, change.architectures) == (Trend.BETTER, ("x86_64",))


def test_reports_with_nothing_in_common_are_refused() -> None:
    """Else a target that was renamed would pass every baseline."""
    old, new = fleet([State.FIXED], {"a": 0, "b": 0}), fleet([State.AFFECTED], {"c": 0, "d": 0})
    with pytest.raises(AuditError, match="have nothing in common: a … and c …; name the targets alike"):
        compare(old, new)


@pytest.mark.parametrize(
    ("tally", "fail_on", "expected"),
    [
        (Tally(), {Outcome.AFFECTED, Outcome.UNKNOWN}, Outcome.AFFECTED),
        (Tally(contradicted=1), {Outcome.AFFECTED}, Outcome.CONTRADICTED),
        (Tally(lapsed_unknown=1), {Outcome.AFFECTED}, Outcome.UNKNOWN),
        (Tally(affected=40), {Outcome.UNKNOWN}, Outcome.PASSED),
    ],
)
def test_what_a_baseline_lets_fail(tally: Tally, fail_on: set[Outcome], expected: Outcome) -> None:
    found = compare(one({"x": State.FIXED}), one({"x": State.AFFECTED}))
    assert decide_against(found, tally, Gate(frozenset(fail_on))) is expected


states = st.sampled_from(State)
fleets = st.dictionaries(st.sampled_from("abcdef"), states, min_size=1).map(
    lambda found: fleet(list(State), {name: list(State).index(state) for name, state in found.items()})
)


@given(fleets, fleets)
def test_every_node_is_in_one_place(old: Stored, new: Stored) -> None:
    try:
        found = compare(old, new)
    except AuditError:
        assert not old.nodes.keys() & new.nodes.keys()
        return
    assert set(found.vanished) == old.nodes.keys() - new.nodes.keys()
    assert set(found.appeared) == new.nodes.keys() - old.nodes.keys()
    named = [name for item in found.changes for name in item.units]
    assert len(named) == len(set(named))
    assert set(named) <= old.nodes.keys() & new.nodes.keys()
    back = compare(new, old)
    assert sorted(named) == sorted(name for item in back.changes for name in item.units)


@pytest.mark.parametrize("version", [1, 2])
def test_reports_of_older_versions_are_read(version: int) -> None:
    """They were written by the tool of that time: 6.1.60, a kernel of RHEL, and a string that is no kernel."""
    found = read_report(str(REPORTS / f"v{version}.json"))
    assert [kernel.name for kernel in found.kernels] == ["6.1.60", "5.14.0-427.13.1.el9_4.x86_64"]
    assert found.kernels[0].answers["x86-hierarchy", ""].state is State.AFFECTED
    assert found.kernels[1].answers["x86-hierarchy", ""].state is State.UNKNOWN
    assert list(found.skipped) == ["nonsense@"]
    now = stored(report("6.1.60", "5.14.0-427.13.1.el9_4.x86_64"))
    compared = compare(found, now)
    assert compared.changes == ()
    assert "tailcall-stack-liveness" in [item.defect for item in compared.new_defects]


def test_a_report_that_was_written_is_read_as_it_was(tmp_path: Path) -> None:
    assert SCHEMA_VERSION == NEWEST
    path = tmp_path / "new.json"
    main(["6.1.170", "5.10.218", "--output", str(path), "--json", "--settings", "none"])
    found = read_report(str(path))
    expected = stored(report("6.1.170", "5.10.218", arch=None))
    assert found.kernels == expected.kernels
    assert compare(expected, found).changes == ()


LINES = [
    {"type": "kernel", "id": "k1", "identity": {}, "verdicts": [
        {"defect": "x", "verdict": "fixed", "confidence": "high", "architectures": [], "brief": "b", "waiver": None}
    ]},
    {"type": "node", "name": "worker-1", "kernel": "k1"},
    {"type": "node", "name": "worker-2", "skipped": "no kernel release"},
]  # fmt: skip


def test_json_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "fleet.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    found = read_report(str(path))
    assert found.units == {"worker-1": 0}
    assert found.kernels[0].answers == {("x", ""): Answer(State.FIXED, "b", False)}
    assert found.skipped == {"worker-2": "no kernel release"}


def test_nodes_of_a_document_are_read(tmp_path: Path) -> None:
    data = json.loads((REPORTS / "v2.json").read_text())
    data["nodes"] = [{"name": "a", "kernel": 1}, {"name": "b", "skipped": "no kernel release"}]
    path = tmp_path / "nodes.json"
    path.write_text(json.dumps(data))
    found = read_report(str(path))
    assert found.units == {"a": 1}
    assert found.skipped["b"] == "no kernel release"


def test_the_nodes_of_an_audit_are_compared_with_those_of_its_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, names = tmp_path / "old.json", tmp_path / "nodes"
    asked = ["--nodes", str(names), "--only", "x86-hierarchy,freplace-loop", "--no-live-patches"]
    names.write_text("worker-1 6.12.117\nworker-2 6.12.117\nworker-3 6.1.170\n")
    assert main([*asked, "--json", "--output", str(old)]) == 1
    names.write_text("worker-1 6.1.170\nworker-2 6.12.117\nworker-4 6.1.170\n")
    capsys.readouterr()
    assert main([*asked, "--baseline", str(old)]) == 1
    shown = capsys.readouterr().out
    assert "2 compared: 2 worse" in shown
    assert "worker-3" in shown.partition("Only in")[2]
    names.write_text("worker-2 6.12.117\nworker-4 6.1.170\n")
    assert main([*asked, "--baseline", str(old)]) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no report: Expecting value"),
        ("[]", "no report of tailcall-audit: write one with --format json"),
        ('{"schema_version": "3"}', "no report of tailcall-audit"),
        ('{"schema_version": true}', "no report of tailcall-audit"),
        ('{"schema_version": 4}', "schema_version 4: this version reads 1 to 3; use the newer tailcall-audit"),
        ('{"schema_version": 3}', "a broken report of version 3: KeyError"),
        ('{"schema_version": 3, "targets": [1], "catalog": {"date": "x"}}', "a broken report of version 3: TypeError"),
        ('{"type": "kernel"}\n{"type"', "no report in JSON lines"),
        ('{"type": "node", "name": "a", "kernel": "k9"}\n', "no report in JSON lines: 'k9'"),
        ("[" * 100000, "no report"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(AuditError, match=words):
        read_report(str(path))


def test_a_node_of_a_kernel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    data = json.loads((REPORTS / "v2.json").read_text()) | {"nodes": [{"name": "a", "kernel": 7}]}
    path = tmp_path / "x.json"
    path.write_text(json.dumps(data))
    with pytest.raises(AuditError, match="a broken report of version 2"):
        read_report(str(path))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.json"
    assert main(["6.12.117", "--arch", "x86_64", "--only", "4,6", "--json", "--output", str(path)]) == 0
    return path


def test_diff_exits_with_1_on_worse_only(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new.json"
    assert main(["6.1.170", "--arch", "x86_64", "--only", "4,6", "--json", "--output", str(new)]) == 1
    assert main(["diff", str(old), str(new)]) == 1
    shown = capsys.readouterr().out
    assert shown.endswith("1 compared: 2 worse, 0 better, 0 newly known, 0 no longer known\n")
    assert "x86-hierarchy  fixed   affected  no 116e04ba1459  6.12.117 -> 6.1.170" in shown
    assert main(["diff", str(new), str(old)]) == 0
    assert "2 better" in capsys.readouterr().out
    assert main(["diff", str(old), str(new), "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert [item["defect"] for item in data["worse"]] == ["freplace-loop", "x86-hierarchy"]
    assert main(["diff", str(old), str(new), "--format", "markdown"]) == 1
    assert "| x86-hierarchy | fixed | affected | no 116e04ba1459 | 6.12.117 -\\> 6.1.170 |" in capsys.readouterr().out


def test_a_baseline_fails_on_worse_only(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = ["--arch", "x86_64", "--only", "4,6", "--baseline"]
    assert main(["6.12.117", *same, str(old)]) == 0
    assert "0 worse" in capsys.readouterr().out
    assert main(["6.1.170", *same, str(old)]) == 1
    bad = tmp_path / "bad.json"
    assert main(["6.1.170", "--arch", "x86_64", "--only", "4,6", "--json", "--output", str(bad)]) == 1
    capsys.readouterr()
    assert main(["6.1.170", *same, str(bad)]) == 0
    shown = capsys.readouterr()
    assert shown.err == "tailcall-audit: 2 affected, 0 unknown in all; against the baseline: 0 worse\n"
    assert main(["6.1.170", *same, str(old), "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["targets"][0]["name"] == "6.1.170"
    assert "Worse:" in shown.err


def test_a_baseline_that_cannot_be_read_costs_no_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["6.1.170", "--baseline", str(tmp_path / "missing.json")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "missing.json: cannot read the report: No such file or directory" in shown.err
