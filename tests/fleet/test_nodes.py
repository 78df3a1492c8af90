"""Lists of nodes in the forms that kubectl, Ansible, osquery, spreadsheets and people write them; node names are made up."""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit import State, audit
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.formats.json import render, report_schema_path
from tailcall_audit.analyzer.formats.registry import View, find_format
from tailcall_audit.analyzer.kernelfiles.nodes.read import NodesForm, form_of, read_nodes
from tailcall_audit.analyzer.kernelfiles.nodes.types import NodeRow, NodesError
from tailcall_audit.analyzer.model import AuditError, Confidence, LivePatches, Report, UsageError
from tailcall_audit.analyzer.subjects.subject import Fleet

UNAME = "Linux {name} 6.1.0-47-cloud-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08) x86_64 GNU/Linux"
WIDE = """\
NAME        STATUS   ROLES           AGE    VERSION   INTERNAL-IP   EXTERNAL-IP   OS-IMAGE                        KERNEL-VERSION                 CONTAINER-RUNTIME
plane-1     Ready    control-plane   412d   v1.29.4   10.20.0.11    <none>        Ubuntu 22.04.4 LTS              5.15.0-107-generic             containerd://1.7.13
worker-01   Ready    <none>          201d   v1.29.4   10.20.1.21    <none>        Debian GNU/Linux 12 (bookworm)  6.1.0-47-amd64                 containerd://1.7.13
worker-02   Ready    <none>          201d   v1.29.4   10.20.1.22    <none>        Debian GNU/Linux 12 (bookworm)  6.1.0-47-amd64                 containerd://1.7.13
"""


def kubernetes(name: str, kernel: str | None, arch: str = "amd64", system: str = "linux") -> dict[str, object]:
    info = {"architecture": arch, "kernelVersion": kernel, "operatingSystem": system, "osImage": "An OS 12.5"}
    status = {} if kernel is None else {"nodeInfo": info}
    return {"kind": "Node", "metadata": {"name": name, "uid": "0-1"}, "status": status}


def facts(kernel: str, build: str = "#1 SMP x", arch: str = "x86_64", prefix: str = "ansible_") -> dict[str, object]:
    values = {"kernel": kernel, "kernel_version": build, "architecture": arch, "system": "Linux", "nodename": "own"}
    return {"ansible_facts": {f"{prefix}{key}": value for key, value in values.items()}, "changed": False}


def rows(tmp_path: Path, text: str | bytes, form: NodesForm | None = None) -> list[NodeRow]:
    path = tmp_path / "list"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read_nodes(str(path), form))


def seen(found: list[NodeRow]) -> list[tuple[str, str | None, str | None]]:
    return [(row.name, row.text, row.architecture) for row in found]


LIST = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}}


@pytest.mark.parametrize("indent", [None, 4])
def test_nodes_of_kubectl(tmp_path: Path, indent: int | None) -> None:
    nodes = [kubernetes("a", "6.8.0-35-generic"), kubernetes("b", "6.1.0-47-arm64", "arm64")]
    text = json.dumps({**LIST, "items": nodes}, indent=indent)
    expected = [("a", "6.8.0-35-generic", "amd64"), ("b", "6.1.0-47-arm64", "arm64")]
    assert seen(rows(tmp_path, text)) == expected
    assert seen(rows(tmp_path, json.dumps(nodes[0], indent=indent))) == expected[:1]
    assert seen(rows(tmp_path, "\n".join(map(json.dumps, nodes)))) == expected


def test_a_page_of_a_list_is_not_all_of_it(tmp_path: Path) -> None:
    """As `kubectl get --raw '/api/v1/nodes?limit=1'` prints it, which follows no `continue`."""
    first, last = (
        json.dumps({**LIST, "metadata": {"continue": more}, "items": [kubernetes(name, "6.8.0-35-generic")]})
        for name, more in (("a", "eyJ2Ij"), ("b", ""))
    )
    with pytest.raises(NodesError, match="a page of a longer list"):
        rows(tmp_path, first)
    assert [row.name for row in rows(tmp_path, f"{first}\n{last}")] == ["a", "b"]
    (tmp_path / "list").write_text(first)
    report = audit(fleet=Fleet(nodes=str(tmp_path / "list")), only=["freplace-loop"])
    assert [node.name for node in report.nodes] == ["a", f"the rest of {tmp_path / 'list'}"]
    assert "a page of a longer list" in (report.nodes[-1].skipped or "")


def test_a_node_that_is_none_or_has_no_kernel_is_a_row_with_its_reason(tmp_path: Path) -> None:
    pod = {"kind": "Pod", "metadata": {"name": "p"}}
    items = [kubernetes("w", "10.0.20348", system="windows"), kubernetes("new", None), pod, 7, {"x": 1}]
    found = rows(tmp_path, json.dumps({**LIST, "items": items}))
    assert [(row.name, row.skipped) for row in found] == [
        ("w", "runs windows, not Linux"),
        ("new", "its status names no kernel: the node has not reported yet"),
        ("p", "a Pod, not a Node"),
        ("item 4", "no object, and so no node"),
        ("item 5", "no kernel in its row"),
    ]


@pytest.mark.parametrize("prefix", ["ansible_", ""])
@pytest.mark.parametrize("indent", [None, 2])
def test_facts_of_ansible(tmp_path: Path, prefix: str, indent: int | None) -> None:
    host = facts("5.15.0-107-generic", "#117-Ubuntu SMP", prefix=prefix)
    text = "5.15.0-107-generic #117-Ubuntu SMP"
    of_two = [("web-1", text, "x86_64"), ("web-2", text, "x86_64")]
    two = {"web-1": host, "web-2": host}
    assert seen(rows(tmp_path, json.dumps(two, indent=indent))) == of_two
    assert seen(rows(tmp_path, json.dumps({"_meta": {"hostvars": two}}, indent=indent))) == of_two
    tasks = [{"hosts": {"web-1": {"changed": True}}}, {"hosts": two}]
    assert seen(rows(tmp_path, json.dumps({"plays": [{"tasks": tasks}], "stats": {}}, indent=indent))) == of_two
    assert seen(rows(tmp_path, json.dumps(host, indent=indent))) == [("own", text, "x86_64")]
    adhoc = "".join(f"{name} | SUCCESS => {json.dumps(value, indent=indent)}\n" for name, value in two.items())
    assert seen(rows(tmp_path, adhoc)) == of_two


def test_a_host_that_ansible_does_not_reach_is_a_row(tmp_path: Path) -> None:
    text = 'web-1 | UNREACHABLE! => {\n "changed": false,\n "msg": "no route to host",\n "unreachable": true\n}\n'
    assert [(row.name, row.skipped) for row in rows(tmp_path, text)] == [("web-1", "unreachable: no route to host")]
    text = "web-1 | CHANGED | rc=0 >>\n6.1.0-47-amd64\nweb-2 | FAILED | rc=127 >>\nno uname\nweb-3 | CHANGED | rc=0 | (stdout) 6.6.1\n"
    found = [(row.name, row.text, row.skipped) for row in rows(tmp_path, text)]
    assert found[:2] == [("web-1", "6.1.0-47-amd64", None), ("web-2", None, "failed, exit status 127")]
    assert found[-1] == ("web-3", "6.6.1", None)


def test_rows_of_osquery(tmp_path: Path) -> None:
    info = {"version": "6.8.0-35-generic", "path": "/boot/vmlinuz", "arguments": ""}
    log = {"name": "pack_kernel", "hostIdentifier": "db-1", "columns": info, "action": "added"}
    snapshot = {"name": "pack_kernel", "hostIdentifier": "db-2", "snapshot": [info], "action": "snapshot"}
    assert seen(rows(tmp_path, "\n".join(map(json.dumps, (log, snapshot))))) == [
        ("db-1", "6.8.0-35-generic", None),
        ("db-2", "6.8.0-35-generic", None),
    ]
    joined = [{"hostname": "db-3", "cpu_type": "x86_64", "kernel_version": "6.1.170"}]
    assert seen(rows(tmp_path, json.dumps(joined))) == [("db-3", "6.1.170", "x86_64")]


def test_the_release_of_a_distribution_is_no_kernel(tmp_path: Path) -> None:
    """os_version of osquery: CentOS 7.9 is no Linux 7.9."""
    row = [{"hostname": "old", "name": "CentOS Linux", "version": "7.2", "platform": "rhel", "arch": "x86_64"}]
    assert rows(tmp_path, json.dumps(row))[0].skipped == "no kernel in its row"


@pytest.mark.parametrize("mark", ["", "# kubectl get nodes -o wide\n", "\n\n"])
def test_the_wide_table_of_kubectl(tmp_path: Path, mark: str) -> None:
    expected = ["5.15.0-107-generic", "6.1.0-47-amd64", "6.1.0-47-amd64"]
    found = rows(tmp_path, mark + WIDE)
    assert [row.text for row in found] == expected
    assert [row.name for row in found] == ["plane-1", "worker-01", "worker-02"]
    assert [row.text for row in rows(tmp_path, WIDE + WIDE)] == expected * 2
    custom = "NAME      KERNEL\nplane-1   5.15.0-107-generic\nw         <none>\n"
    assert [(row.name, row.text) for row in rows(tmp_path, custom)] == [
        ("plane-1", "5.15.0-107-generic"),
        ("w", "<none>"),
    ]


def test_a_cell_that_is_longer_than_its_column_cuts_no_kernel(tmp_path: Path) -> None:
    """kubectl get nodes --watch keeps the widths of the first rows: 6.1.170 must not become 6.1.17."""
    late = (
        "worker-03   NotReady,SchedulingDisabled   <none>          201d   v1.29.4   10.20.1.23    <none>        "
        "Debian GNU/Linux 12 (bookworm)  6.1.170                        containerd://1.7.13\n"
    )
    cut = "worker-04   NotReady,SchedulingDisabled   201d   v1.29.4   Debian GNU/Linux 12 (bookworm)    6.1.170\n"
    found = rows(tmp_path, WIDE + late + cut)
    assert [row.text for row in found[3:]] == ["6.1.170", None]
    assert found[4].skipped == "line 6: its columns are not where the titles are"
    for width in range(1, 60):
        (row,) = rows(tmp_path, f"NAME  STATUS  KERNEL-VERSION\n{'n' * width}   Ready   6.1.170\n")
        assert row.text in ("6.1.170", None)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_with_a_header(tmp_path: Path, separator: str) -> None:
    lines = [["Hostname", "Site", "Kernel Version", "Arch", "Live Patches"]]
    lines += [
        ["a", "ams 1", "6.1.170", "x86_64", "none"],
        ["b", "x", "6.1.0-47-amd64", "", "kpatch_1"],
        ["c", "x", "", "", ""],
    ]
    found = rows(tmp_path, "\n".join(separator.join(line) for line in lines) + "\n")
    assert seen(found) == [("a", "6.1.170", "x86_64"), ("b", "6.1.0-47-amd64", None), ("c", None, None)]
    assert [row.live_patches for row in found[:2]] == [LivePatches.NONE, LivePatches.LOADED]
    assert found[2].skipped == "no kernel in its row"


def test_quoted_cells(tmp_path: Path) -> None:
    text = 'host,uname\n"a, the first","Linux a 6.1.170 #1 SMP x86_64"\n'
    assert seen(rows(tmp_path, text)) == [("a, the first", "Linux a 6.1.170 #1 SMP x86_64", None)]


def test_lines_of_a_name_and_a_kernel(tmp_path: Path) -> None:
    text = (
        "# fleet\nweb-1\t6.1.170\nweb-2   6.8.0-35-generic\nweb-3: " + UNAME.format(name="web-3") + "\nweb-4\n6.6.1\n"
    )
    found = rows(tmp_path, text)
    assert [row.name for row in found] == ["web-1", "web-2", "web-3", "web-4", "line 6"]
    assert found[3].skipped == "nothing follows its name"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_powershell_redirects_to_a_file(tmp_path: Path, encoding: str) -> None:
    assert [row.name for row in rows(tmp_path, WIDE.encode(encoding))] == ["plane-1", "worker-01", "worker-02"]


def test_a_compressed_list(tmp_path: Path) -> None:
    assert len(rows(tmp_path, gzip.compress(WIDE.encode()))) == 3


def test_a_node_larger_than_the_window(tmp_path: Path) -> None:
    """A node with a long list of images, over several reads; its texts hold what looks like the end."""
    big = kubernetes("big", "6.1.170") | {"images": ["]}, {" * 1000] * 300}
    text = json.dumps({**LIST, "items": [big, kubernetes("small", "6.1.171")]})
    assert [row.name for row in rows(tmp_path, text)] == ["big", "small"]


@given(
    st.lists(st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True), min_size=1, max_size=40),
    st.sampled_from([None, 1]),
)
def test_every_node_is_read_once_and_in_order(names: list[str], indent: int | None) -> None:
    from tailcall_audit.analyzer.kernelfiles.nodes.json_rows import json_rows

    text = json.dumps({**LIST, "items": [kubernetes(name, "6.1.170") for name in names]}, indent=indent)
    place = 0

    def read(_: int) -> str:
        nonlocal place
        place += 7
        return text[place - 7 : place]

    assert [row.name for row in json_rows(read, "x")] == names


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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty"),
        ("# nothing\n", "no node in it; --nodes-format says how it is written"),
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


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (WIDE, NodesForm.TABLE),
        ("NAMESPACE   NAME   KERNEL-VERSION\n", NodesForm.TABLE),
        (' \n{"items": []}', NodesForm.JSON),
        ("host,kernel\n", NodesForm.CSV),
        ("host\tkernel\n", NodesForm.CSV),
        ("web-1\t6.1.170\n", NodesForm.LINES),
        ("web-1 6.1.170\n", NodesForm.LINES),
        ("web-1 | CHANGED | rc=0 >>\n6.1.170\n", NodesForm.LINES),
        ('web-1 | SUCCESS => {"a": 1}', NodesForm.JSON),
    ],
)
def test_the_form_is_found_out_from_the_content(head: str, form: NodesForm) -> None:
    assert form_of(head) is form


def test_the_table_the_json_and_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nodes"
    path.write_text(WIDE.replace("worker-02", "w\x1b[31m002"))
    assert main(["--nodes", str(path), "--arch", "x86_64"]) == 1
    text = capsys.readouterr().out
    assert [line.split()[:3] for line in text.splitlines()[1:3]] == [
        ["2", "6.1.0-47-amd64", "x86_64"],
        ["1", "5.15.0-107-generic", "x86_64"],
    ]
    assert "\x1b" not in text
    assert "3 nodes, 2 kernels: 3 affected by something" in text
    assert "facts: the catalogue of " in text
    assert "worker-01" not in text
    main(["--nodes", str(path), "--arch", "x86_64", "--explain"])
    assert "  w�[31m002, worker-01\n" in capsys.readouterr().out
    report = audit(fleet=Fleet(nodes=str(path)), arch="x86_64")
    data = json.loads(render(report, View()))
    jsonschema.Draft202012Validator(json.loads(report_schema_path().read_text())).validate(data)
    assert [node["kernel"] for node in data["nodes"]] == [0, 1, 1]
    lines = [json.loads(line) for line in find_format("jsonl").render(report, View()).splitlines()]
    assert [line["type"] for line in lines] == ["kernel", "kernel", "node", "node", "node"]
    assert lines[2] == {"type": "node", "name": "plane-1", "kernel": lines[0]["id"]}
    assert {"defect", "verdict", "evidence", "reason"} <= lines[0]["verdicts"][0].keys()
    again = find_format("jsonl").render(audit(fleet=Fleet(nodes=str(path)), arch="x86_64"), View())
    assert again == find_format("jsonl").render(report, View())


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


def test_more_kernels_than_a_fleet_has_cost_no_other_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailcall_audit.analyzer.subjects.nodes._MOST_KERNELS", 3)
    (tmp_path / "list").write_text("".join(f"n{number}\t6.1.{number % 5 + 1}\n" for number in range(10)))
    report = audit(fleet=Fleet(nodes=str(tmp_path / "list")), only=["freplace-loop"])
    assert len(report.targets) == 3
    assert [node.kernel for node in report.nodes] == [0, 1, 2, None, None] * 2
    assert "more than 3 different kernels" in str(report.nodes[3].skipped)


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
