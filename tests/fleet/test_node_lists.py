"""How lists of nodes are read, as kubectl, Ansible, osquery, spreadsheets and people write them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.kernelfiles.nodes.json_rows import json_rows
from tailcall_audit.analyzer.kernelfiles.nodes.read import NodesForm, form_of, read_nodes
from tailcall_audit.analyzer.kernelfiles.nodes.types import NodeRow, NodesError
from tailcall_audit.analyzer.model import LivePatches
from tests.fleet.lists import LIST, UNAME, WIDE, facts, kubernetes, page


def rows(tmp_path: Path, text: str | bytes, form: NodesForm | None = None) -> list[NodeRow]:
    path = tmp_path / "list"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read_nodes(str(path), form))


def seen(found: list[NodeRow]) -> list[tuple[str, str | None, str | None]]:
    return [(row.name, row.text, row.architecture) for row in found]


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
    first, last = (page("a", more="eyJ2Ij"), page("b"))
    with pytest.raises(NodesError, match="a page of a longer list"):
        rows(tmp_path, first)
    assert [row.name for row in rows(tmp_path, f"{first}\n{last}")] == ["a", "b"]


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
    text = json.dumps({**LIST, "items": [kubernetes(name, "6.1.170") for name in names]}, indent=indent)
    place = 0

    def read(_: int) -> str:
        nonlocal place
        place += 7
        return text[place - 7 : place]

    assert [row.name for row in json_rows(read, "x")] == names


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
