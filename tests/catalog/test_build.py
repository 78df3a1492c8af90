"""From the files in `catalog/` to `commits.json`, and every way in which a file can be wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.catalog.build import InvalidCatalogError, build
from tailcall_audit.analyzer.catalog.check import CatalogError
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.yaml_file import read_yaml
from tests.test_additions import DISTRIBUTION

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "catalog"
LIBYAML = [False, *([True] if yaml.__with_libyaml__ else [])]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped folder, to be changed."""
    return Path(shutil.copytree(FOLDER, tmp_path / "catalog"))


def test_the_committed_file_is_what_the_folder_gives() -> None:
    assert (CHECKOUT / "commits.json").read_bytes() == build(FOLDER)


def test_the_order_of_keys_in_a_file_does_not_matter(folder: Path) -> None:
    before = build(folder)
    path = folder / "commits/2b5dcb31a19a.yaml"
    head, tail = path.read_text().split("branches:\n")
    path.write_text("branches:\n" + tail + head)
    assert build(folder) == before


def test_plain_text_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "release: 6.10\nid: 4e1234567890\nday: 2026-11-25\nanswer: no\nyes: on\nflag: true\nnumber: 5\nquoted: '5'\n"
    )
    file = read_yaml(path)
    assert file.data == {
        "release": "6.10",
        "id": "4e1234567890",
        "day": "2026-11-25",
        "answer": "no",
        "yes": "on",
        "flag": True,
        "number": 5,
        "quoted": "5",
    }
    assert not file.complaints


@pytest.mark.parametrize(
    ("content", "name", "line"),
    [
        ("a: 1\nb: [\n", "yaml-syntax", 3),
        ("a: 1\na: 2\n", "duplicate-key", 2),
        ("a: 1\nb:\n", "empty-value", 2),
        ("a: 1\nb: null\n", "empty-value", 2),
        ("a: &x 1\nb: *x\n", "yaml-syntax", 1),
        ("a: !!python/object:os.system 1\n", "yaml-syntax", 1),
        ("a: 1\n? [b]\n: 2\n", "yaml-syntax", 2),
        ("a: 1\n---\nb: 2\n", "yaml-syntax", 2),
        ("", "empty-value", 1),
        ("# only a comment\n", "empty-value", 1),
        ("[" * 3000, "yaml-syntax", 1),
        ("[" * 200_000, "yaml-syntax", 1),
        ("- " * 3000 + "x", "yaml-syntax", 1),
        ("a: \x00\n", "yaml-syntax", 1),
    ],
)
@pytest.mark.parametrize("libyaml", LIBYAML)
def test_what_is_no_yaml_of_the_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, name: str, line: int, libyaml: bool
) -> None:
    monkeypatch.setattr(yaml, "__with_libyaml__", libyaml)
    path = tmp_path / "x.yaml"
    path.write_text(content)
    complaints = read_yaml(path).complaints
    assert [(complaint.name, complaint.line) for complaint in complaints][:1] == [(name, line)]


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml: there is one loader only")
def test_both_loaders_of_yaml_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [*FOLDER.glob("*.yaml"), *FOLDER.glob("commits/*.yaml")]
    assert len(paths) > 40
    fast = [read_yaml(path) for path in paths]
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert [read_yaml(path) for path in paths] == fast


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    assert [(item.name, item.line) for item in read_yaml(path).complaints] == [("yaml-syntax", 2)]


@pytest.mark.parametrize(
    ("file", "old", "new", "name", "line_of"),
    [
        ("commits/2b5dcb31a19a.yaml", "kind: fix", "kind: mend", "wrong-value", "kind"),
        ("commits/2b5dcb31a19a.yaml", "kind: fix", "kind: fix\nsevere: true", "unknown-key", "severe"),
        ("commits/2b5dcb31a19a.yaml", "first_release: 6.7-rc1\n", "", "missing-key", "id:"),
        ("commits/2b5dcb31a19a.yaml", "backported: 6.1.72", "backport: 6.1.72", "unknown-key", "backport:"),
        ("commits/2b5dcb31a19a.yaml", "backported: 6.1.72", "backported: v6.1.72", "wrong-value", "v6.1.72"),
        ("commits/2b5dcb31a19a.yaml", "    backported: 6.1.72\n", "", "missing-key", "  6.1:"),
        (
            "commits/2b5dcb31a19a.yaml",
            "    backported: 6.1.72",
            "    backported: 6.1.72\n    absent_through: 6.1.71",
            "missing-key",
            "  6.1:",
        ),
        ("commits/2b5dcb31a19a.yaml", "id: 2b5dcb31a19a", "id: 3b5dcb31a19a", "wrong-name", "id:"),
        ("defects/freplace-loop.yaml", "fixed: d6083f040d5d", "fixed: d6083f040d5e", "unknown-commit", "fixed:"),
        ("defects/freplace-loop.yaml", "[1c123c567fb1,", "[1c123c567fb2,", "unknown-commit", "1c123c567fb2"),
        ("defects/freplace-loop.yaml", "capability:freplace-attach", "capability:fly", "unknown-capability", "fly"),
        ("defects/freplace-loop.yaml", "severity: critical", "severity: critical\nranges: []", "unknown-key", "ranges"),
        ("defects/freplace-loop.yaml", "exposure: extension-", "exposure: exten-", "unknown-fact", "exposure:"),
        ("commits/0f0c332992b8.yaml", "refuses: shares-", "refuses: shuns-", "unknown-fact", "refuses:"),
        ("commits/0f0c332992b8.yaml", "    errno: EINVAL\n", "", "wrong-value", "  - what:"),
        ("commits/1a4607ffba35.yaml", "until: e3245f899043", "until: e3245f899044", "unknown-commit", "until:"),
        ("defects/freplace-loop.yaml", "severity: critical", "severity: grave", "wrong-value", "severity"),
        ("defects/freplace-loop.yaml", "  all:", "  both:", "missing-key", "reachable:"),
        ("series/debian.yaml", "commit: 7506d211b932", "commit: 7506d211b933", "unknown-commit", "7506d211b933"),
        (
            "commits/fdad456cbcca.yaml",
            "- commit: f7866c358733",
            "- commit: f7866c358734",
            "unknown-commit",
            "f7866c358734",
        ),
        ("exceptions.yaml", "commit: 2b5dcb31a19a", "commit: 2b5dcb31a19b", "unknown-commit", "2b5dcb31a19b"),
        ("branches.yaml", "4.3: {released: 2015-11-01", "4.3: {released: 2015-11", "wrong-value", "4.3:"),
    ],
)
def test_a_fault_is_named_with_its_line(folder: Path, file: str, old: str, new: str, name: str, line_of: str) -> None:
    path = folder / file
    text = path.read_text().replace(old, new, 1)
    path.write_text(text)
    expected = next(number for number, line in enumerate(text.splitlines(), 1) if line_of in line)
    with pytest.raises(InvalidCatalogError) as raised:
        build(folder)
    assert (name, path, expected) in [(item.name, item.path, item.line) for item in raised.value.complaints]


def test_every_faulty_file_is_named_at_once(folder: Path) -> None:
    for name in ("commits/2b5dcb31a19a.yaml", "defects/freplace-loop.yaml"):
        with (folder / name).open("a") as file:
            file.write("colour: red\n")
    with pytest.raises(
        InvalidCatalogError, match=r"2b5dcb31a19a\.yaml:\d+: colour .*\n.*freplace-loop\.yaml:\d+: colour"
    ):
        build(folder)


@pytest.mark.parametrize("name", ["commits/2b5dcb31a19a.yml", "defect/x.yaml", "notes.txt"])
def test_a_file_that_would_be_overlooked_is_a_fault(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("a: 1\n")
    with pytest.raises(InvalidCatalogError, match="unknown-file"):
        build(folder)


def test_a_missing_table_is_a_fault(folder: Path) -> None:
    (folder / "branches.yaml").unlink()
    with pytest.raises(InvalidCatalogError, match=r"branches\.yaml:1: cannot read the file: No such file"):
        build(folder)


def test_a_pipe_in_the_place_of_a_table_is_a_fault(folder: Path) -> None:
    (folder / "branches.yaml").unlink()
    os.mkfifo(folder / "branches.yaml")
    with pytest.raises(InvalidCatalogError, match=r"branches\.yaml:1: cannot read the file: a pipe or a device"):
        build(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 10_000, "{a: " * 10_000])
def test_yaml_that_is_nested_without_end_is_a_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "deep.yaml").write_text(text)
    (complaint,) = read_yaml(tmp_path / "deep.yaml").complaints
    assert "nested" in complaint.message or "not YAML" in complaint.message


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{", '{"a": ' + "[" * 900 + "]" * 900 + "}"])
def test_a_survey_that_is_none_is_a_fault(folder: Path, text: str) -> None:
    (folder / "surveys/debian.json").write_text(text)
    with pytest.raises(InvalidCatalogError, match=r"debian\.json:1: "):
        build(folder)


def test_distributions_are_carried_through_in_their_order(folder: Path) -> None:
    for path in (*(folder / "distributions").glob("*.yaml"), *(folder / "surveys").glob("*.json")):
        path.unlink()
    (folder / "distributions").mkdir(exist_ok=True)
    for name, order in (("zeta", 10), ("alpha", 30), ("mid", 20)):
        form = f"{{match: '-{name}', contains: ['-{name}'], proves: exact, note: a test}}"
        text = f"title: {name}\norder: {order}\nfollows: stable\npatches: own\nforms: [{form}]\n"
        (folder / f"distributions/{name}.yaml").write_text(text)
    names = [entry["name"] for entry in json.loads(build(folder))["distributions"]]
    assert names == ["zeta", "mid", "alpha"]


def test_without_pyyaml_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(CatalogError, match=r"PyYAML .* pip install 'tailcall-audit\[catalog\]'"):
        build(FOLDER)


def test_no_audit_loads_yaml() -> None:
    script = (
        "import sys; from tailcall_audit.analyzer.app.main import main; main(['--kernel', '6.1.170', '--arch', 'x86_64', '--explain']);"
        "main(['list']); sys.exit('yaml' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], check=False, stdout=subprocess.DEVNULL)
    assert result.returncode == 0


NEW_COMMIT = """\
id: aaaaaaaaaaaa0000000000000000000000000000
subject: 'bpf: Mend what this test made up'
first_release: 6.14-rc1
kind: fix
files: [kernel/bpf/core.c]
source: RUN
branches:
  6.12:
    backported: 6.12.20
    source: RUN
"""
NEW_DEFECT = """\
title: A defect that this test made up
mechanism: None.
consequence: None.
severity: low
architectures: ['*']
config: BPF_SYSCALL
reachable: 04fd61ab36ec
fixed: aaaaaaaaaaaa
detection: not at all
"""


def test_a_defect_is_two_files(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "commits/aaaaaaaaaaaa.yaml").write_text(NEW_COMMIT)
    (folder / "defects/made-up.yaml").write_text(NEW_DEFECT)
    output = tmp_path / "commits.json"
    assert main(["catalog", "build", "--from", str(folder)]) == 0
    assert load_catalog(output).defects[-1].slug == "made-up"
    capsys.readouterr()
    common = ["--catalog", str(output)]
    for release, state, code in (
        ("6.11", "affected", 1),
        ("6.12.19", "affected", 1),
        ("6.12.20", "fixed", 0),
        ("6.14", "fixed", 0),
        ("6.6.50", "unknown", 3),
    ):
        assert main([*common, "--kernel", release, "--arch", "x86_64", "--only", "made-up", "--json"]) == code
        (target,) = json.loads(capsys.readouterr().out)["targets"]
        assert [verdict["verdict"] for verdict in target["verdicts"]] == [state], release
    assert main(["list", *common]) == 0
    assert "made-up" in capsys.readouterr().out
    assert main(["explain", "made-up", *common]) == 0
    story = capsys.readouterr().out
    assert "bpf: Mend what this test made up" in story
    assert "6.12.y    6.12 up to 6.12.20 (fixed)" in story


def test_check_sees_a_change_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder.parent / "commits.json"
    assert main(["catalog", "build", "--from", str(folder), "--check"]) == 1
    assert not target.exists()
    assert main(["catalog", "build", "--from", str(folder)]) == 0
    assert main(["catalog", "build", "--from", str(folder), "--check"]) == 0
    path = folder / "defects/freplace-loop.yaml"
    path.write_text(path.read_text().replace("severity: critical", "severity: high"))
    before = target.read_bytes()
    assert main(["catalog", "build", "--from", str(folder), "--check"]) == 1
    assert target.read_bytes() == before
    assert "run tailcall-audit catalog build" in capsys.readouterr().err


def test_a_faulty_folder_leaves_the_file_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder.parent / "commits.json"
    target.write_text("as it was")
    (folder / "defects/freplace-loop.yaml").write_text("title: [\n")
    assert main(["catalog", "build", "--from", str(folder)]) == 2
    assert target.read_text() == "as it was"
    assert "freplace-loop.yaml:2: not YAML" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "build", "--from", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_distribution_is_one_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "commits.json"
    common = ["--catalog", str(output), "--kernel", "6.1.170-3.ex4.x86_64", "--only", "x86-hierarchy", "--json"]

    def judged() -> tuple[str | None, str | None, str]:
        assert main(["catalog", "build", "--from", str(folder)]) == 0
        capsys.readouterr()
        main(common)
        (target,) = json.loads(capsys.readouterr().out)["targets"]
        identity = target["identity"]
        return identity["distro"], identity["architecture"], target["verdicts"][0]["verdict"]

    assert judged() == (None, "x86_64", "unknown")
    (folder / "distributions/example.yaml").write_text(DISTRIBUTION)
    assert judged() == ("example", "x86_64", "affected")


def test_a_survey_without_its_distribution_is_a_fault(folder: Path) -> None:
    (folder / "surveys/nowhere.json").write_text('{"source": "x", "series": {"6.1": {"abi": {"1": []}}}}')
    with pytest.raises(InvalidCatalogError, match=r"there is no distributions/nowhere\.yaml"):
        build(folder)
