"""The formats of a plan: the contract in JSON, a script, a folder for quilt, and text that a terminal can show."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.plan.formats.json import plan_schema_path
from tailcall_audit.analyzer.plan.rendering import find_plan_format, plan_format_names
from tailcall_audit.analyzer.plan.types import Left, Outcome, Plan, Result, Role, Step
from tests.plan.kernels import ARRAYMAP, CATALOG, IN_ORDER, Upstream, changes, files_of, replaced, with_version
from tests.plan.planned import plan, tree_of
from tests.repositories import git

SIX = "2,3,5,6"
EVIL = "a\x1b[31m\nb\r\ndiff --git a/x b/x"


@pytest.fixture(scope="module")
def mainline(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    return Upstream(tmp_path_factory.mktemp("up") / "mainline", files_of("6.1"), IN_ORDER, "6.12")


def step(outcome: Outcome) -> Step:
    return Step(
        commit="1" * 40,
        upstream="2" * 40,
        subject=EVIL,
        source="6.1",
        role=Role.FIX,
        defects=("freplace-loop",),
        needed_by=("3" * 40,),
        follows=(),
        outcome=outcome,
        notes=(EVIL,),
        fetch="git fetch",
        message=f"{EVIL}\n\n--- a/etc\n+++ b/etc\n@@ -1 +1 @@\n-a\n+b\n",
        author=EVIL,
        patch=b"--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n",
    )


def made(*outcomes: Outcome) -> Plan:
    identity = {"upstream": "6.1.170", "architecture": None, "commit": "4" * 40}
    result = Result(True, (), (Left("freplace-loop", EVIL, EVIL),), "5" * 40)
    return Plan(
        EVIL, identity, ("freplace-loop",), (Left("x86-hierarchy", EVIL),), tuple(map(step, outcomes)), result, (EVIL,)
    )


def test_every_outcome_in_json_keeps_the_contract() -> None:
    text = find_plan_format("json")(made(*Outcome), CATALOG)
    assert isinstance(text, str)
    schema = json.loads(plan_schema_path().read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    data = json.loads(text)
    jsonschema.validate(data, schema)
    assert {"commit", "subject", "source", "defects", "needed_by", "outcome", "conflicts"} <= data["steps"][0].keys()
    assert {"tested", "fixed", "open", "tree"} <= data["result"].keys()


@pytest.mark.parametrize("name", ["plain", "table", "script"])
def test_nothing_of_an_input_reaches_a_terminal_raw(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    text = find_plan_format(name)(made(*Outcome), CATALOG)
    assert isinstance(text, str)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\ndiff --git" not in text


def test_a_message_brings_no_patch_of_its_own() -> None:
    files = find_plan_format("quilt")(made(Outcome.CLEAN), CATALOG)
    assert not isinstance(files, str)
    (name,) = [name for name in files if name != "series"]
    assert name == "0001-a-31m-b-diff-git-a-x-b-x.patch"
    assert files[name].count(b"\n--- a/f\n") == 1
    head = files[name].partition(b"\n---\n")[0]
    assert not any(line.lstrip().startswith((b"--- ", b"+++ ", b"@@", b"diff ")) for line in head.split(b"\n"))


def test_the_plan_of_a_real_tree_keeps_the_contract(mainline: Upstream, tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[0])
    found = plan(tree.path, "--upstream", str(mainline.path), "--unknown", arch="s390x")
    jsonschema.validate(found.data, json.loads(plan_schema_path().read_text(encoding="utf-8")))


@pytest.mark.skipif(shutil.which("patch") is None, reason="no patch(1) on this machine")
def test_the_patches_of_quilt_lead_to_the_tree_that_was_foreseen(mainline: Upstream, tmp_path: Path) -> None:
    """Each patch is what its step changes in this tree, so that patch(1) applies it without fuzz."""
    files = dict(mainline.stages[0])
    replaced(
        files,
        ARRAYMAP,
        '#include "map_in_map.h"\n',
        '#include "map_in_map.h"\n\n/* a vendor\'s\n * own\n * lines */\n',
        1,
    )
    tree = tree_of(tmp_path / "tree", files)
    upstream = ("--upstream", str(mainline.path), "--only", SIX)
    folder = tmp_path / "patches"
    code = main(
        ["plan", "--tree", str(tree.path), "--arch", "x86_64", "--format", "quilt", "--output", str(folder), *upstream]
    )
    assert code == 1
    series = [line for line in (folder / "series").read_text().split("\n") if line and not line.startswith("#")]
    assert len(series) == len(IN_ORDER)
    text = (folder / series[4]).read_text()
    assert "\nBug-CVE: CVE-2024-47794\n" in text
    assert f"\nOrigin: upstream, commit:{mainline.commits['6']}\n" in text
    for name in series:
        command = ["patch", "-p1", "--fuzz=0", "-s", "-i", str(folder / name)]
        subprocess.run(command, cwd=tree.path, check=True, capture_output=True)
    git("add", "-A", cwd=tree.path)
    assert git("write-tree", cwd=tree.path).strip() == plan(tree.path, *upstream).data["result"]["tree"]


def test_a_folder_that_is_there_is_not_touched(
    mainline: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tree_of(tmp_path / "tree", mainline.stages[4])
    folder = tmp_path / "patches"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    command = ["plan", "--tree", str(tree.path), "--only", "6", "--arch", "x86_64", "--format", "quilt"]
    assert main([*command, "--output", str(folder)]) == 2
    assert "name a new folder" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["mine"]
    assert main([*command, "--output", str(tree.path / "debian")]) == 2
    assert "inside of the tree" in capsys.readouterr().err
    below = ["plan", "--tree", str(tree.path / "kernel"), "--only", "6", "--arch", "x86_64"]
    assert main([*below, "--output", str(tree.path / "plan.txt")]) == 2
    assert "inside of the tree" in capsys.readouterr().err
    assert main(command) == 2
    assert "--output DIR" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patches", "tree"]


def test_a_script_stops_at_the_first_conflict(mainline: Upstream, tmp_path: Path) -> None:
    files = dict(mainline.stages[0])
    replaced(files, ARRAYMAP, "	if (!bpf_prog_map_compatible(map, prog)) {\n", "	if (vendor_refuses(map)) {\n", 1)
    tree = tree_of(tmp_path / "tree", files)
    upstream = ("--upstream", str(mainline.path), "--only", "2,6", "--unknown", "--arch", "x86_64")
    script = tmp_path / "mend.sh"
    assert main(["plan", "--tree", str(tree.path), "--format", "script", "--output", str(script), *upstream]) == 3
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= {
        f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    clone = tmp_path / "clone"
    git("clone", "-q", str(tree.path), str(clone))
    done = subprocess.run(["sh", str(script)], cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"stopped at {mainline.commits['6']}" in done.stderr
    assert (
        git("log", "-1", "--format=%s", cwd=clone).strip()
        == "bpf, x86: Fix tail call count offset calculation on bpf2bpf call"
    )
    assert git("rev-parse", "--abbrev-ref", "HEAD", cwd=clone).startswith("tailcall-audit-")


def test_a_format_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tailcall_audit.analyzer.plan.formats as package

    (tmp_path / "count.py").write_text(
        "def render(plan, catalog):\n    return f'{len(plan.steps)}\\n'\n", encoding="utf-8"
    )
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert find_plan_format("count")(made(Outcome.CLEAN), CATALOG) == "1\n"
    assert {"count", "json", "plain", "quilt", "script", "table"} == set(plan_format_names())
    with pytest.raises(AuditError, match="no format 'whisper'"):
        find_plan_format("whisper")


def test_a_script_is_for_git_only(tmp_path: Path, mainline: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in with_version(mainline.stages[0], "6.1.170").items():
        (tmp_path / "linux" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "linux" / name).write_bytes(data)
    assert main(["plan", "--tree", str(tmp_path / "linux"), "--only", "6", "--format", "script"]) == 2
    assert "for a git repository" in capsys.readouterr().err
    assert changes({"a": b"1"}, {}) == {"a": None}
