"""The examples of contrib/: scripts are run as they are called, manifests are held against what they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from prometheus_client.parser import text_string_to_metric_families

from tailcall_audit.analyzer.formats.registry import find_format
from tailcall_audit.analyzer.model import Node
from tests.exposure.shapes import caller, filled
from tests.exposure.test_join import on
from tests.formats.examples import VIEW, plain, whole
from tests.requirements import requirements

ROOT = Path(__file__).parents[2]
CONTRIB = ROOT / "contrib"
TOOL = Path(sys.executable).with_name("tailcall-audit")


def load(name: str) -> Any:
    return yaml.safe_load((CONTRIB / name).read_text())


def action(folder: Path, code: int, **inputs: str) -> tuple[dict[str, str], subprocess.CompletedProcess[str]]:
    """Runs the step that audits, with the environment that the action gives it; returns the outputs."""
    step = load("github-action/action.yml")["runs"]["steps"][1]
    given = {name: inputs.get(name.removeprefix("INPUT_").lower(), "") for name in step["env"]}
    outputs = folder / "outputs"
    outputs.touch()
    environment = {
        **os.environ,
        **given,
        "GITHUB_ACTION_PATH": str(CONTRIB / "github-action"),
        "GITHUB_OUTPUT": str(outputs),
        "RUNNER_TEMP": str(folder),
        "TAILCALL_AUDIT": str(TOOL),
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return dict(line.split("=", 1) for line in outputs.read_text().splitlines()), done


def test_the_action_writes_report_and_outputs_and_ends_as_the_audit(tmp_path: Path) -> None:
    outputs, _ = action(
        tmp_path,
        1,
        targets="6.1.170\n\n6.12.117\r\n",
        arguments="--arch\nx86_64\n--only\n4,6\n",
        format="sarif",
        output="r.sarif",
    )
    assert outputs == {"report": "r.sarif", "exit-code": "1"}
    assert '"version": "2.1.0"' in (tmp_path / "r.sarif").read_text()
    outputs, _ = action(
        tmp_path, 0, targets="6.12.117", arguments="--arch\nx86_64\n--only\n4,6", format="junit", output="a b.xml"
    )
    assert outputs == {"report": "a b.xml", "exit-code": "0"}
    assert (tmp_path / "a b.xml").exists()


@pytest.mark.parametrize("words", ["$(touch x)", "; touch x", "`touch x`", "--output=x"])
def test_an_input_of_the_action_is_no_code_and_no_option(tmp_path: Path, words: str) -> None:
    action(tmp_path, 2, targets=words, format="json", output="r.json")
    assert not (tmp_path / "x").exists()


def test_an_action_without_targets_is_refused(tmp_path: Path) -> None:
    _, done = action(tmp_path, 2, targets="\n", format="json", output="r.json")
    assert done.stderr == "tailcall-audit: the input targets is empty\n"


def test_no_input_stands_in_a_script_of_the_action() -> None:
    runs = load("github-action/action.yml")["runs"]
    assert runs["using"] == "composite"
    assert all("uses" not in step and "${{" not in step["run"] for step in runs["steps"])


def test_what_an_example_uses_is_named_by_a_commit() -> None:
    """Who copies the example puts an id there; a tag could be moved."""
    text = (CONTRIB / "github-action/example.yml").read_text()
    assert set(re.findall(r"uses: \S+@(\S+)", text)) == {"COMMIT"}


def test_every_library_is_pinned() -> None:
    lines = [line for line in (CONTRIB / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {Requirement(line).name for line in lines}
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    assert set(requirements("tailcall-audit", {"images", "formats"})) - {"tailcall-audit"} <= pinned


def test_the_hook_calls_the_tool() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "tailcall-audit"
    assert hook["pass_filenames"] is False


def test_the_container_copies_what_there_is_and_is_no_root() -> None:
    text = (CONTRIB / "container/Containerfile").read_text()
    copied = [word for line in re.findall(r"(?m)^COPY (?!--)(.*)$", text) for word in line.split()[:-1]]
    assert copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"(?m)^USER 65532:65532$", last)
    assert last.index("USER") < last.index("ENTRYPOINT")
    wheel = (ROOT / "pyproject.toml").read_text()
    data = re.findall(r'(?m)^"([\w./-]+)" = "', wheel)  # what the wheel takes beside the packages
    assert data
    assert all(any(name == item or name.startswith(f"{item}/") for item in copied) for name in data)


def test_the_daemon_set_has_no_privilege_and_writes_to_no_host() -> None:
    pod = load("kubernetes/daemonset.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(pod)
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    of_host = {volume["name"] for volume in pod["volumes"] if "hostPath" in volume}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert of_host == {"boot", "modules"}
    assert all(mounts[name].get("readOnly") is True for name in of_host)
    assert "@sha256:" in container["image"]


def test_the_options_of_the_examples_are_the_tool_s() -> None:
    from tailcall_audit.analyzer.app.completion import whole_parser

    known = set(whole_parser()._option_string_actions)
    script = load("kubernetes/daemonset.yaml")["spec"]["template"]["spec"]["containers"][0]["args"][0]
    played = (CONTRIB / "ansible/audit.yml").read_text()
    line = next(line for line in script.splitlines() if "bin/tailcall-audit" in line)
    used = set(re.findall(r"(?<!\S)--[a-z-]+", line)) | set(re.findall(r"'(?:\^', ')?(--[a-z-]+)", played))
    assert {"--format", "--output", "--kernel", "--allow-unknown"} <= used
    assert used <= known


def test_the_playbook_is_yaml_that_asks_and_audits() -> None:
    asks, audits = load("ansible/audit.yml")
    assert asks["tasks"][0]["ansible.builtin.command"] == "uname -a"
    assert audits["tasks"][0]["failed_when"] == "audit.rc not in [0, 1, 3]"


def test_the_alerts_are_about_series_that_are_written() -> None:
    prometheus = find_format("prometheus")
    # The series of programs are written only where programs were given.
    programs = on(filled(caller(2)), "6.1.170", only=("x86-hierarchy",))
    nodes = plain()._replace(nodes=(Node("worker-1", 0), Node("win-1", skipped="runs windows, not Linux")))
    texts = [prometheus.render(report, VIEW) for report in (whole(), programs, nodes)]
    written = {family.name for text in texts for family in text_string_to_metric_families(text)}
    rules = [rule for group in load("prometheus/alerts.yml")["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        names = re.findall(r"tailcall_audit_\w+", rule["expr"])
        assert names
        assert set(names) <= written
