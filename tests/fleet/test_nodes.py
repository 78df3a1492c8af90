"""How the kernels of a list of nodes are judged: each once, and what cannot be read costs no other."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from tailcall_audit import State, audit
from tailcall_audit.analyzer.kernelfiles.nodes.types import NodesError
from tailcall_audit.analyzer.model import AuditError, Confidence, Report, UsageError
from tailcall_audit.analyzer.subjects.subject import Fleet
from tests.fleet.lists import LIST, UNAME, kubernetes, page


def test_kernels_are_judged_once_and_nodes_keep_their_names(tmp_path: Path) -> None:
    lines = [f"n{number}\t{UNAME.format(name=f'n{number}')}\n" for number in range(50)]
    lines += [f"m{number}\t6.1.0-47-cloud-amd64\n" for number in range(3)] + ["bad\tno kernel here\n"]
    (tmp_path / "list").write_text("".join(lines))
    report = audit(fleet=Fleet(nodes=str(tmp_path / "list")))
    assert [target.identity["package"] for target in report.targets] == ["6.1.170-3", None]
    assert [node.kernel for node in report.nodes] == [0] * 50 + [1] * 3 + [None]
    assert report.nodes[-1].skipped is not None
    assert "no kernel version in it" in report.nodes[-1].skipped


def test_builds_and_architectures_of_one_release_are_kernels_of_their_own(tmp_path: Path) -> None:
    lines = ["a 6.6.1 #1 SMP x86_64", "b 6.6.1 #2 SMP x86_64", "c 6.6.1 #1 SMP aarch64", "d 6.6.1 #1 SMP x86_64"]
    (tmp_path / "list").write_text("\n".join(lines))
    assert [node.kernel for node in audit(fleet=Fleet(nodes=str(tmp_path / "list"))).nodes] == [0, 1, 2, 0]


def states(report: Report) -> dict[str, tuple[State, Confidence, str]]:
    return {item.defect.slug: (item.state, item.confidence, item.reason) for item in report.targets[0].verdicts}


def test_live_patches_are_not_known_unless_the_input_says_none(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("node,kernel,arch\na,6.1.170,x86_64\n")
    report = audit(fleet=Fleet(nodes=str(path)))
    alone = states(audit(kernels=["6.1.170"], arch="x86_64"))
    for slug, (state, confidence, reason) in states(report).items():
        assert state is alone[slug][0]
        assert ("live patches not known" in reason) == (state in (State.AFFECTED, State.FIXED))
        assert confidence <= (Confidence.MEDIUM if state in (State.AFFECTED, State.FIXED) else Confidence.HIGH)
    assert any("live patches not known" in note for note in report.targets[0].notes)
    assert states(audit(fleet=Fleet(nodes=str(path), no_live_patches=True))) == alone
    path.write_text("node,kernel,arch,livepatch\na,6.1.170,x86_64,none\n")
    assert states(audit(fleet=Fleet(nodes=str(path)))) == alone


def test_what_is_broken_behind_good_nodes_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text(json.dumps({**LIST, "items": [kubernetes("a", "6.1.170")]})[:-2] + ', {"kind": Node}]}')
    report = audit(fleet=Fleet(nodes=str(path)))
    assert [node.name for node in report.nodes] == ["a", f"the rest of {path}"]
    assert "broken JSON" in (report.nodes[1].skipped or "")
    assert report.unjudged


def test_a_list_that_goes_on_elsewhere_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(page("a", more="eyJ2Ij"))
    report = audit(fleet=Fleet(nodes=str(tmp_path / "list")), only=["freplace-loop"])
    assert [node.name for node in report.nodes] == ["a", f"the rest of {tmp_path / 'list'}"]
    assert "a page of a longer list" in (report.nodes[-1].skipped or "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("# nothing\n", "no node in it; nodes_format says how it is written"),
        ("a b\n", "none of 1 nodes names a kernel"),
        ('{"items": []}', "no node in it"),
        ("[" * 100_000, "nested deeper|nested too deep|broken JSON"),
        ('{"items": [{"a": ' + "[" * 100_000, "nested too deep|broken JSON"),
        ('{"items": [{"kind": "Node"', "broken JSON|cut off"),
        ('{"a": 1', "cut off|broken JSON"),
        ("[1" + "0" * 5000 + "]", "digits|no object"),
    ],
)
def test_a_list_without_a_node_is_one_clear_error(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(AuditError, match=reason):
        audit(fleet=Fleet(nodes=str(tmp_path / "list")))


@pytest.mark.parametrize("name", ["pipe", "folder", "loop", "missing"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(NodesError, match="cannot read"):
        audit(fleet=Fleet(nodes=str(tmp_path / name)))


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.gz").write_bytes(gzip.compress(b"# a remark that is long\n" * 4_000_000, 9))
    with pytest.raises(AuditError, match="unpacks to more than 250 times its size"):
        audit(fleet=Fleet(nodes=str(tmp_path / "list.gz")))


def test_parameters_that_have_no_effect_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        audit(kernels=["6.1"], fleet=Fleet(nodes="x"))
    with pytest.raises(UsageError):
        audit(kernels=["6.1"], fleet=Fleet(nodes_format="csv"))
    with pytest.raises(UsageError):
        audit(fleet=Fleet(nodes=str(tmp_path)), config=str(tmp_path))


def test_more_kernels_than_a_fleet_has_cost_no_other_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailcall_audit.analyzer.subjects.nodes._MOST_KERNELS", 3)
    (tmp_path / "list").write_text("".join(f"n{number}\t6.1.{number % 5 + 1}\n" for number in range(10)))
    report = audit(fleet=Fleet(nodes=str(tmp_path / "list")), only=["freplace-loop"])
    assert len(report.targets) == 3
    assert [node.kernel for node in report.nodes] == [0, 1, 2, None, None] * 2
    assert "more than 3 different kernels" in str(report.nodes[3].skipped)
