"""CSV, JUnit, Prometheus, Markdown and HTML: what is in them, read by the libraries that others read them with."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from junitparser import JUnitXml, TestSuite
from prometheus_client.parser import text_string_to_metric_families

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.formats.csv import COLUMNS
from tailcall_audit.analyzer.formats.registry import find_format
from tailcall_audit.analyzer.model import Node, Report
from tests.formats.examples import KERNELS, VIEW, by_state, hostile, plain, whole
from tests.gates.examples import contradicted


def rows(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(find_format("csv").render(report, VIEW))))


def test_csv_has_a_row_for_each_verdict_and_each_skipped_input() -> None:
    found = rows(whole())
    assert tuple(found[0]) == COLUMNS
    counts = Counter(row["verdict"] for row in found)
    assert counts == {**{state.value: by_state(whole(), state) for state in State}, "skipped": 1}
    assert [row["defect"] for row in found if row["waiver"] == "waived"] == ["x86-hierarchy", "freplace-loop"]
    assert [row["defect"] for row in found if row["waiver"] == "expired"] == ["tailcall-cgroup-storage-bridge"]


@pytest.mark.parametrize("name", ["csv", "html", "junit", "markdown", "sarif"])
def test_a_node_that_could_not_be_judged_is_shown(name: str) -> None:
    nodes = (Node("worker-1", 0), Node("worker-2", skipped="no kernel release in its row"))
    text = find_format(name).render(plain()._replace(nodes=nodes), VIEW)
    assert "worker-2" in text
    assert "no kernel release in its row" in text
    assert "worker-1" in text


FLEET = (Node("worker-2", 0), Node("worker-1", 0), Node("edge-1", 2), Node("=cmd|'/c calc'!A1", 2))


def fleet() -> Report:
    return plain()._replace(nodes=FLEET)


def test_each_row_of_csv_names_the_nodes_that_run_its_kernel() -> None:
    found = {(row["kernel"], row["nodes"], row["node_names"]) for row in rows(fleet())}
    first, second, third = KERNELS
    assert found == {(first, "2", "worker-1, worker-2"), (second, "", ""), (third, "2", "'=cmd|'/c calc'!A1, edge-1")}


def test_a_node_that_could_not_be_judged_is_a_row_with_its_name() -> None:
    nodes = (Node("worker-1", 0), Node("win-1", skipped="runs windows, not Linux"))
    last = rows(plain()._replace(nodes=nodes))[-1]
    assert (last["verdict"], last["node_names"], last["reason"]) == ("skipped", "win-1", "runs windows, not Linux")


def test_csv_of_very_many_nodes_names_a_thousand_in_a_cell() -> None:
    nodes = tuple(Node(f"worker-{number:04}", 0) for number in range(1234))
    cell = rows(plain()._replace(nodes=nodes))[0]["node_names"]
    assert cell.startswith("worker-0000, worker-0001, ") and cell.endswith("worker-0999 and 234 more")


def properties(suite: TestSuite) -> dict[str, str]:
    return {item.name: item.value for item in suite.properties()}  # type: ignore[no-untyped-call]


def test_a_suite_of_junit_names_its_nodes() -> None:
    document = JUnitXml.fromstring(find_format("junit").render(fleet(), VIEW).encode())
    found = {suite.name: properties(suite) for suite in document}
    assert found[KERNELS[0]] == {"nodes": "2", "node names": "worker-1, worker-2"}
    assert found[KERNELS[1]] == {}


def test_prometheus_counts_the_nodes() -> None:
    nodes = (Node("worker-1", 0), Node("worker-2", skipped="no kernel"), Node("worker-3", 0))
    found = metrics(plain()._replace(nodes=nodes))
    assert [value for _, value in found["tailcall_audit_nodes"]] == [2, 0, 0]
    assert found["tailcall_audit_nodes_skipped"] == [({}, 1)]


def test_no_cell_of_csv_is_a_formula() -> None:
    found = rows(hostile())
    assert len(found) > 1
    for row in found:
        assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def junit(report: Report, unknown_passes: bool = False) -> Counter[str]:
    """How many cases end in which way: none for those that pass."""

    text = find_format("junit").render(report, VIEW._replace(unknown_passes=unknown_passes))
    document = JUnitXml.fromstring(text.encode())
    found: Counter[str] = Counter()
    for suite in document:
        for case in suite:
            (result,) = case.result or (None,)
            found["passed" if result is None else f"{type(result).__name__} {result.type}"] += 1
    assert document.failures == sum(number for words, number in found.items() if words.startswith("Failure"))
    assert document.errors == sum(number for words, number in found.items() if words.startswith("Error"))
    return found


def test_junit_shows_no_unknown_as_green() -> None:
    assert junit(whole()) == {
        "passed": by_state(whole(), State.FIXED) + by_state(whole(), State.NOT_AFFECTED),
        "Failure affected": by_state(whole(), State.AFFECTED, waived=False) - 1,
        "Failure contradicted": 1,
        "Error unknown": by_state(whole(), State.UNKNOWN, waived=False),
        "Error skipped": 1,
        "Skipped waived": 2,
    }


def test_junit_skips_what_the_gate_lets_through() -> None:
    found = junit(whole(), unknown_passes=True)
    assert "Error unknown" not in found
    assert found["Skipped unknown"] == by_state(whole(), State.UNKNOWN, waived=False)
    assert found["Skipped skipped"] == 1
    assert found["Failure affected"] == junit(whole())["Failure affected"]


def metrics(report: Report) -> dict[str, list[tuple[dict[str, str], float]]]:
    text = find_format("prometheus").render(report, VIEW)
    families = text_string_to_metric_families(text)
    return {family.name: [(sample.labels, sample.value) for sample in family.samples] for family in families}


def test_prometheus_has_a_gauge_of_its_own_for_the_unknown() -> None:
    found = metrics(whole())
    total = sum(len(target.verdicts) for target in whole().targets)
    assert len(found["tailcall_audit_affected"]) == len(found["tailcall_audit_unknown"]) == total
    assert sum(value for _, value in found["tailcall_audit_affected"]) == by_state(whole(), State.AFFECTED, False)
    assert sum(value for _, value in found["tailcall_audit_unknown"]) == by_state(whole(), State.UNKNOWN, False)
    assert [labels["defect"] for labels, _ in found["tailcall_audit_waived"]] == ["x86-hierarchy", "freplace-loop"]
    assert [labels["defect"] for labels, _ in found["tailcall_audit_contradicted"]] == ["prog-array-clear-stall"]
    assert found["tailcall_audit_skipped"] == [({}, 1)]
    assert found["tailcall_audit_last_run_timestamp_seconds"] == [({}, VIEW.made)]


@pytest.mark.parametrize("report", [plain, whole, hostile], ids=["plain", "whole", "hostile"])
def test_no_series_of_prometheus_is_there_twice(report: object) -> None:
    assert callable(report)
    for samples in metrics(report()).values():
        keys = [tuple(sorted(labels.items())) for labels, _ in samples]
        assert len(set(keys)) == len(keys)


def test_a_kernel_that_is_gone_leaves_no_series() -> None:
    text = find_format("prometheus").render(audit(kernels=["6.12.117"]), VIEW)
    assert "6.1.170" not in text


def test_the_file_of_prometheus_is_replaced_whole(tmp_path: Path) -> None:
    """The collector reads every *.prom file of the folder: no half of one, and none of another name, may be there."""
    path = tmp_path / "tailcall.prom"
    for kernel in ("6.1.170", "6.12.117"):
        main(["--kernel", kernel, "--arch", "x86_64", "--only", "6", "--format", "prometheus", "--output", str(path)])
        text = path.read_text()
        assert f'kernel="{kernel}"' in text
        assert text.endswith("\n")
        assert os.listdir(tmp_path) == ["tailcall.prom"]
    assert "6.1.170" not in path.read_text()


@pytest.mark.parametrize("name", ["lab", "compared", "matrix"])
def test_the_layouts_of_many_kernels_show_what_is_waived(name: str) -> None:
    text = find_format(name).render(whole(), VIEW)
    assert "waived: " in text or name == "lab"
    report = whole()
    first, *others = report.targets
    seen = tuple(contradicted(item) if item.waived else item for item in first.verdicts)
    text = find_format(name).render(report._replace(targets=(first._replace(verdicts=seen), *others)), VIEW)
    assert "waived: x86-hierarchy until 2027-01-31, by platform team: no program mixes both" in text
    assert " w" in text


def test_markdown_has_tables_of_one_width() -> None:
    for report in (plain(), whole(), hostile()):
        text = find_format("markdown").render(report, VIEW._replace(explain=True))
        tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
        assert len(tables) == 1 + len(report.targets)
        for table in tables:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_markdown_of_a_fleet_has_a_row_for_each_kernel_and_what_some_have() -> None:
    many = audit(kernels=[f"6.1.{number}" for number in range(100, 120)], arch="x86_64", only=["3", "4", "6"])
    text = find_format("markdown").render(many, VIEW)
    titles = next(line for line in text.splitlines() if line.startswith("| kernel"))
    assert titles == "| kernel | x86-hierarchy | freplace-loop |"
    assert text.count("| 6.1.1") == 20
    assert "1 defects that no kernel has are left out." in text


class Page(HTMLParser):
    """What a page has: its elements, the addresses that it would fetch, its anchors and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        values = dict(attrs)
        self.fetched += [f"{tag} {name}" for name in ("src", "data", "action", "srcset") if name in values]
        self.fetched += [f"handler {name}" for name in values if name.startswith("on")]
        if values.get("href"):
            self.links.add(values["href"] or "")
        if values.get("id"):
            self.ids.append(values["id"] or "")
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("report", [plain, whole, hostile], ids=["plain", "whole", "hostile"])
def test_a_page_fetches_nothing_and_is_whole(report: object) -> None:
    assert callable(report)
    page = Page()
    page.feed(find_format("html").render(report(), VIEW))
    assert page.open == []
    assert page.fetched == []
    assert {"script", "link", "img", "iframe", "object", "form"}.isdisjoint(page.tags)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_a_page_of_a_fleet_lists_what_is_open_only() -> None:
    many = audit(kernels=[f"6.1.{number}" for number in range(100, 120)], arch="x86_64", only=["3", "4", "6"])
    text = find_format("html").render(many, VIEW)
    page = Page()
    page.feed(text)
    assert page.tags["details"] == 40  # pitfalls 4 and 6 of each
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert "1 defects that no kernel has are left out of this table." in text
    assert "s390-trampoline" not in text


def test_a_page_has_a_matrix_and_the_evidence() -> None:
    text = find_format("html").render(plain(), VIEW)
    page = Page()
    page.feed(text)
    assert page.tags["details"] >= sum(len(target.verdicts) for target in plain().targets)
    assert all(name in text for name in KERNELS)
    assert "Linux kernel commit" in text or "d6083f040d5d" in text
