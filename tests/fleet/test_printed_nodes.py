"""What is printed of a list of nodes, and the exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.formats.json import render, report_schema_path
from tailcall_audit.analyzer.formats.registry import View, find_format
from tailcall_audit.analyzer.subjects.subject import Fleet
from tests.fleet.lists import WIDE


def wide(tmp_path: Path) -> Path:
    """Three nodes with two kernels; the name of the last one has an escape sequence."""
    path = tmp_path / "nodes"
    path.write_text(WIDE.replace("worker-02", "w\x1b[31m002"))
    return path


def test_the_table_counts_the_nodes_of_each_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", str(wide(tmp_path)), "--arch", "x86_64"]) == 1
    text = capsys.readouterr().out
    assert [line.split()[:3] for line in text.splitlines()[1:3]] == [
        ["2", "6.1.0-47-amd64", "x86_64"],
        ["1", "5.15.0-107-generic", "x86_64"],
    ]
    assert "3 nodes, 2 kernels: 3 affected by something" in text
    assert "facts: the catalogue of " in text
    assert "worker-01" not in text


def test_explain_names_the_nodes_and_nothing_of_them_reaches_the_terminal_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--nodes", str(wide(tmp_path)), "--arch", "x86_64", "--explain"]) == 1
    text = capsys.readouterr().out
    assert "  w�[31m002, worker-01\n" in text
    assert "\x1b" not in text


def test_the_json_of_a_list_is_valid_and_has_each_node(tmp_path: Path) -> None:
    report = audit(fleet=Fleet(nodes=str(wide(tmp_path))), arch="x86_64")
    data = json.loads(render(report, View()))
    jsonschema.Draft202012Validator(json.loads(report_schema_path().read_text())).validate(data)
    assert [node["kernel"] for node in data["nodes"]] == [0, 1, 1]


def test_the_lines_are_the_kernels_and_then_the_nodes(tmp_path: Path) -> None:
    path = wide(tmp_path)
    first, again = (
        find_format("jsonl").render(audit(fleet=Fleet(nodes=str(path)), arch="x86_64"), View()) for _ in range(2)
    )
    assert again == first
    lines = [json.loads(line) for line in first.splitlines()]
    assert [line["type"] for line in lines] == ["kernel", "kernel", "node", "node", "node"]
    assert lines[2] == {"type": "node", "name": "plane-1", "kernel": lines[0]["id"]}
    assert {"defect", "verdict", "evidence", "reason"} <= lines[0]["verdicts"][0].keys()


def test_columns_that_do_not_fit_into_a_line_have_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nodes"
    path.write_text("db-1 5.14.0-427.13.1.el9_4.x86_64\nweb-1 6.1.170\n")
    assert main(["--nodes", str(path), "--arch", "x86_64", "--pitfalls", "--quiet"]) == 1
    table, rest = capsys.readouterr().out.split("\n\n", 1)
    head, first, _ = table.splitlines()
    assert head.split() == ["NODES", "KERNEL", "ARCH", *"ABCDEFG"]
    # 6.1.170 has pitfalls 4 and 6 only.
    assert first.split() == ["1", "6.1.170", "x86_64", *["fixed"] * 3, "AFFECTED", "fixed", "fixed", "AFFECTED"]
    legend = rest.partition("\n- not-affected")[0].replace("\n", " ")
    named = dict(part.split(": ") for part in legend.split(", "))
    assert (named["D"], named["G"]) == ("x86-hierarchy", "freplace-loop")


def test_the_exit_code_is_that_of_the_worst_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nodes"
    for lines, code in ((["a 7.3.4", "b 6.1.170"], 1), (["a 7.3.4"], 0), (["a 7.3.4", "b nothing"], 3)):
        path.write_text("\n".join(lines))
        assert main(["--nodes", str(path), "--arch", "x86_64", "--only", "freplace-loop"]) == code
    capsys.readouterr()


def test_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nodes"
    path.write_text(WIDE)
    with path.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert main(["--nodes", "-", "--arch", "x86_64", "--pitfalls"]) == 1
    assert "3 nodes, 2 kernels" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["markdown", "html"])
def test_documents_name_the_nodes_of_each_kernel(tmp_path: Path, name: str) -> None:
    rows = "".join(f"node-{number:04}\t6.1.{number % 2 + 170}\n" for number in range(2500))
    (tmp_path / "list").write_text(rows + "lonely\t6.6.1\n")
    report = audit(fleet=Fleet(nodes=str(tmp_path / "list")), only=["freplace-loop"])
    text = find_format(name).render(report, View()).replace("\\", "")
    assert "6.1.170 · 1,250 nodes" in text
    assert "6.6.1 · 1 node" in text
    assert "1,250 nodes: node-0000, node-0002, " in text
    assert f"and {1250 - (50 if name == 'markdown' else 1000):,} more" in text
    assert "1 node: lonely" in text
