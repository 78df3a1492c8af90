"""Settings: the command line beats the environment, which beats the file; a working folder's file is not used."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest

from tailcall_audit import AuditError
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.gates.settings import (
    SETTINGS,
    SettingsFile,
    Value,
    read_settings_file,
    resolve,
    user_file,
)
from tests.reports import whole_verdicts

WAIVER = """\
[[waiver]]
defect = "x86-hierarchy"
kernel = "6.1.*"
reason = "no program mixes both"
until = 2099-01-31
who = "platform team"
"""
ARGUMENTS = ("--kernel", "6.1.170", "--arch", "x86_64", "--only", "x86-hierarchy")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home" / "tailcall-audit"
    folder.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder.parent))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return folder


@pytest.mark.parametrize(("option", "variable", "file"), [*product((None, "csv"), ("", "sarif"), (None, "html"))])
def test_the_order(option: str | None, variable: str, file: str | None) -> None:
    values = {} if file is None else {"format": Value("format", file, "s.toml:1")}
    found = resolve({"format": option}, SettingsFile("s.toml", "", values), {"TAILCALL_AUDIT_FORMAT": variable})
    if option:
        expected = Value("format", "csv", "command line")
    elif variable:
        expected = Value("format", "sarif", "TAILCALL_AUDIT_FORMAT")
    else:
        expected = Value("format", file, "s.toml:1" if file else "default")
    assert found["format"] == expected
    assert list(found) == [item.name for item in SETTINGS]


def test_a_file_is_read_with_lines_and_its_own_folder(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('# ours\nfail-on = ["affected"]\ncatalog = "commits.json"\nsurveys = false\n' + WAIVER)
    found = read_settings_file(str(path))
    assert found.values == {
        "fail-on": Value("fail-on", "affected", f"{path}:2"),
        "catalog": Value("catalog", str(tmp_path / "commits.json"), f"{path}:3"),
        "surveys": Value("surveys", "none", f"{path}:4"),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nfailon = 'affected'\n", r":2: no setting 'failon'; did you mean fail-on\?"),
        ("format = 3\n", ":1: format is a text"),
        ("format = ['json']\n", ":1: format is a text"),
        ("fail-on = [1]\n", ":1: fail-on is a text or a list of texts"),
        ("catalog = ''\n", ":1: catalog is a text"),
        ("[format]\nx = 1\n", "format is a text"),
        ("format = \n", "no TOML file: .*line 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(AuditError, match=words):
        read_settings_file(str(path))


@pytest.mark.parametrize(
    ("kind", "words"), [("missing", "No such file"), ("folder", "Is a directory"), ("bytes", "no TOML")]
)
def test_what_cannot_be_read_is_named(tmp_path: Path, kind: str, words: str) -> None:
    path = tmp_path / "s.toml"
    if kind == "folder":
        path.mkdir()
    elif kind == "bytes":
        path.write_bytes(b"\xff\xfe")
    with pytest.raises(AuditError, match=words):
        read_settings_file(str(path))


def test_a_tree_does_not_waive_itself(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path(".tailcall-audit.toml").write_text(WAIVER)
    assert main(ARGUMENTS) == 1
    shown = capsys.readouterr()
    assert "waived" not in shown.out
    assert ".tailcall-audit.toml of this folder is not used: --settings .tailcall-audit.toml does" in shown.err
    assert main([*ARGUMENTS, "--settings", ".tailcall-audit.toml"]) == 0
    shown = capsys.readouterr()
    assert "waived: x86-hierarchy until 2099-01-31, by platform team: no program mixes both" in shown.out
    assert shown.err == "tailcall-audit: 1 waived\n"


@pytest.mark.parametrize("name", ["tailcall-audit.toml", ".tailcall-audit.toml"])
def test_the_file_of_the_user_is_used(home: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (home / name).write_text(WAIVER)
    assert main(ARGUMENTS) == 0
    assert main([*ARGUMENTS, "--settings", "none"]) == 1


def test_two_files_of_the_user_are_refused(home: Path) -> None:
    for name in ("tailcall-audit.toml", ".tailcall-audit.toml"):
        (home / name).write_text(WAIVER)
    with pytest.raises(AuditError, match="two settings files: remove one"):
        user_file()


def test_a_configuration_folder_that_is_relative_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG's rule (basedir-spec): such a path is ignored. It would be in the folder that is audited."""
    (home.parent / "here" / "tailcall-audit").mkdir(parents=True)
    (home.parent / "here" / "tailcall-audit" / "tailcall-audit.toml").write_text(WAIVER)
    monkeypatch.chdir(home.parent)
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    monkeypatch.setenv("HOME", "also-relative")
    assert user_file() is None


def test_show_config_says_where_each_value_is_from(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / "tailcall-audit.toml"
    path.write_text('format = "table"\nfail-on = "affected"\nseverity = "low"\n' + WAIVER)
    monkeypatch.setenv("TAILCALL_AUDIT_FAIL_ON", "unknown")
    monkeypatch.setenv("TAILCALL_AUDIT_FAILON", "unknown")
    assert main(["--show-config", "--severity", "high", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["settings"]["format"] == {"value": "json", "from": "command line"}
    assert shown["settings"]["fail-on"] == {"value": "unknown", "from": "TAILCALL_AUDIT_FAIL_ON"}
    assert shown["settings"]["severity"] == {"value": "high", "from": "command line"}
    assert shown["settings"]["min-confidence"] == {"value": "low", "from": "default"}
    assert shown["waivers"][0]["source"] == f"{path}:4"
    assert "TAILCALL_AUDIT_FAILON" in shown["ignored"]
    monkeypatch.setenv("TAILCALL_AUDIT_FORMAT", "")
    assert main(["--show-config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["format", "table", f"{path}:1"] in [line.split() for line in lines]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fail-on", "affectd"), "--fail-on: 'affectd' is none of contradicted, affected, unknown"),
        (("--fail-on", ""), "--fail-on: '' is none of"),
        (("--min-confidence", "certain"), "--min-confidence: 'certain' is none of low, medium, high"),
        (("--severity", "worst"), "--severity: 'worst' is none of low, medium, high, critical"),
        (("--fail-on", "unknown", "--allow-unknown"), "contradict each other"),
        (("--settings", "/nowhere/s.toml"), "/nowhere/s.toml: cannot read the settings"),
        (("--surveys", "/nowhere"), "--surveys /nowhere: no such folder"),
    ],
)
def test_wrong_words_of_the_command_line(
    home: Path, arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARGUMENTS, *arguments]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_a_wrong_word_of_the_environment_names_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAILCALL_AUDIT_FORMAT", "yaml")
    assert main(ARGUMENTS) == 2
    assert "TAILCALL_AUDIT_FORMAT: no output format 'yaml'" in capsys.readouterr().err


def test_severity_selects(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kernel", "6.1.170", "--arch", "x86_64", "--severity", "critical", "--json"]) == 1
    assert {item["severity"] for item in whole_verdicts(json.loads(capsys.readouterr().out))} == {"critical"}
    assert main(["--kernel", "6.1.170", "--only", "arm64-empty-slot-count", "--severity", "critical"]) == 2
    assert "no defect that is asked for is of severity critical or above" in capsys.readouterr().err


def test_the_last_line_says_what_was_allowed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernel = ("--kernel", "5.14.0-427.el9.x86_64", "--only", "x86-hierarchy")
    assert main([*kernel]) == 3
    assert capsys.readouterr().err == ""
    assert main([*kernel, "--fail-on", "affected"]) == 0
    last = capsys.readouterr().err
    assert last == "tailcall-audit: 1 unknown: allowed here, where only contradicted, affected fails\n"


def test_surveys_and_catalogue_of_the_settings_are_used(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "tailcall-audit.toml").write_text('catalog = "missing.json"\n')
    assert main(ARGUMENTS) == 2
    assert f"{home}/missing.json" in capsys.readouterr().err
    assert main(["list"]) == 2
    assert main(["list", "--settings", "none"]) == 0
