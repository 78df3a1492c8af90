"""Tests of ``tailcall-audit survey`` as a user runs it, and of what a kept survey changes in an audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.survey.store import Store
from tailcall_audit.analyzer.survey.types import Kind, Survey
from tests.reports import whole_verdicts
from tests.repositories import FIX_6, History, fixed_branch, git, makefile

SCHEMA = Path(__file__).parents[2] / "analyzer/survey/survey.schema.json"


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)  # in this checkout --write would write to its catalogue


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """6.6.y through 6.6.158, with the fix of pitfall 6 from 6.6.157 on; the catalogue knows it through 6.6.145."""
    return fixed_branch(tmp_path / "linux")


def _audit(capsys: pytest.CaptureFixture[str], version: str) -> dict[str, Any]:
    main(["--kernel", version, "--only", "freplace-loop", "--json"])
    return whole_verdicts(json.loads(capsys.readouterr().out))[0]


def test_nothing_is_kept_without_write(clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The made branch lacks the backports that the catalogue has seen on 6.6.y, which contradicts it.
    assert main(["survey", "--stable", str(clone)]) == 1
    out = capsys.readouterr().out
    assert "Reaches further than the catalogue:" in out
    assert "from 6.6.157" in out
    assert not (tmp_path / "data").exists()


def test_an_audit_complains_of_nothing_that_is_not_there(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["survey", "--stable", str(clone), "--write"])
    capsys.readouterr()
    main(["--kernel", "6.6.157", "--online"])  # no repository is kept
    assert "other users can write it" not in capsys.readouterr().err
    assert main(["survey", "show", "gone"]) == 2
    assert "no survey 'gone' in" in capsys.readouterr().err


_RPM = """\
* Wed Aug 09 2023 N N <n@example.org> [{build}]
- {subject} (N N) [1]

* Mon Aug 30 2021 N N <n@example.org> [5.14.0-1.el9]
- the first build (N N)
"""


def test_several_changelogs_are_one_survey_and_a_broken_one_costs_no_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, build in (("a", "5.14.0-425.el9"), ("b", "5.14.0-427.el9")):
        (tmp_path / name).write_text(_RPM.format(build=build, subject="bpf, x64: Fix tailcall infinite loop"))
    (tmp_path / "c").write_text("nothing of the kind\n")
    given = [word for name in "abc" for word in ("--changelog", str(tmp_path / name))]
    # They are made, and complete: they lack what the shipped survey of RHEL lists.
    assert main(["survey", *given, "--json"]) == 1
    shown = capfd.readouterr()
    found = json.loads(shown.out)
    assert found["source"] == "a, b, c"
    assert found["reach"] == {"rhel/5.14/el9": "5.14.0-427.el9"}
    assert {item["where"] for item in found["conflicts"]} == {"rhel/5.14/el9"}
    claims = [claim for claim in found["claims"] if claim["commit"] == "2b5dcb31a19a"]
    assert [(claim["state"], claim["release"]) for claim in claims] == [
        ("absent-through", "5.14.0-1.el9"),
        ("present-from", "5.14.0-425.el9"),
    ]
    assert f"({tmp_path}/a:2)" in claims[1]["source"]
    assert f"{tmp_path}/c: left out" in shown.err
    with pytest.raises(SystemExit):
        main(["survey", *given, "--package-version", "5.14.0-425.el9"])
    assert "--package-version is about one changelog" in capfd.readouterr().err


def test_a_kept_survey_decides_what_was_unknown(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _audit(capsys, "6.6.157")["verdict"] == "unknown"
    assert main(["survey", "--stable", str(clone), "--write", "--date", "2026-11-20"]) == 1
    assert "kept as" in capsys.readouterr().err
    after = _audit(capsys, "6.6.157")
    assert after["verdict"] == "fixed"
    assert "surveyed on 2026-11-20" in json.dumps(after["evidence"])
    assert _audit(capsys, "6.6.156")["verdict"] == "affected"
    assert main(["survey", "list"]) == 0
    assert "through 6.6.158" in capsys.readouterr().out
    assert main(["survey", "forget", "stable"]) == 0
    capsys.readouterr()
    assert _audit(capsys, "6.6.157")["verdict"] == "unknown"


def test_a_survey_that_was_changed_is_named_and_left_out(
    clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["survey", "--stable", str(clone), "--write"])
    path = tmp_path / "data/tailcall-audit/surveys/stable.json"
    path.write_text(path.read_text().replace("6.6.157", "6.6.100"))
    capsys.readouterr()
    main(["--kernel", "6.6.156", "--only", "freplace-loop", "--json"])
    captured = capsys.readouterr()
    assert "stable.json" in captured.err
    assert json.loads(captured.out)["targets"][0]["verdicts"][0]["verdict"] == "unknown"


def test_json_is_what_the_schema_says(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["survey", "--stable", str(clone), "--json"])
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(SCHEMA.read_text()))
    assert data["reach"] == {"6.6": "6.6.158"}
    claim = next(item for item in data["claims"] if item["commit"] == FIX_6[:12] and item["branch"] == "6.6")
    assert (claim["state"], claim["release"]) == ("present-from", "6.6.157")


def test_json_of_what_came_by_a_release_is_what_the_schema_says(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git("tag", "-d", "v6.6.156", cwd=clone)
    main(["survey", "--stable", str(clone), "--json"])
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, json.loads(SCHEMA.read_text()))
    assert ("present-by", "6.6.157") in [(item["state"], item["release"]) for item in data["claims"]]


def test_a_contradiction_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The catalogue has the fix of pitfall 6 on 6.12.y from 6.12.5 on.
    history = History(tmp_path / "linux", "6.12", bare=True)
    history.release("6.12")
    history.commit("Linux 6.12.9\n", {"Makefile": makefile("6.12.9")})
    history.tag("v6.12.9")
    assert main(["survey", "--stable", str(history.path)]) == 1
    assert "Contradicts the catalogue" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a source"),
        (["--branch", "6.6"], "name a source"),
        (["--vulns", "x", "--branch", "6.6"], "--branch is about the branches of a clone"),
        (["--stable", "x", "--name", "y"], "add --write"),
        (["--stable", "x", "--date", "soon"], "is no day"),
        (["--stable", "x", "--date", "2099-01-01"], "is in the future"),
        (["--stable", "x", "--branch", "6"], "'6' is no stable branch, as 6.6"),
        (["--stable", "x", "list"], "list is about a survey that is kept, and makes none: leave --stable out"),
        (["--write", "forget", "x"], "leave --write out"),
    ],
)
def test_options_that_have_no_effect_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["survey", *arguments])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--stable", "/nonexistent"], ["--vulns", "/nonexistent"], ["show", "x"], ["forget", "x"]]
)
def test_what_is_not_there_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["survey", *arguments]) == 2
    assert capsys.readouterr().err.startswith("tailcall-audit: ")


@pytest.mark.parametrize("name", ["6.6", "6.6.y", "v6.6", "linux-6.6.y"])
def test_a_branch_goes_by_all_its_names(clone: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["survey", "--stable", str(clone), "--branch", name, "--branch", "6.12", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert data["reach"] == {"6.6": "6.6.158"}
    assert "6.12.y: no tag of a release of it in this clone (git fetch --tags)" in data["notes"]


def test_a_survey_of_builds_is_named_after_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for build in ("5.14.0-425.el9", "5.14.0-427.13.1.el9_4"):
        text = _RPM.format(build=build, subject="a fix")
        (tmp_path / build).write_text(text)
        main(["survey", "--changelog", build, "--write"])
    capsys.readouterr()
    main(["survey", "list", "--json"])
    kept = json.loads(capsys.readouterr().out)["surveys"]
    assert [(item["name"], item["reach"]) for item in kept] == [
        ("rhel-5.14-el9", {"rhel/5.14/el9": "5.14.0-425.el9"}),
        ("rhel-5.14-el9.4", {"rhel/5.14/el9": "5.14.0-427.13.1.el9_4"}),
    ]
    assert {item["folder"] for item in kept} == {str(tmp_path / "data/tailcall-audit/surveys")}


def test_a_list_names_the_newest_releases_of_each_survey(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reach = {f"6.{number}": f"6.{number}.20" for number in range(1, 12)}
    Store(tmp_path / "data/tailcall-audit/surveys").write(Survey(Kind.STABLE, "stable", "x", "2026-11-25", reach, ()))
    main(["survey", "list"])
    assert "through 6.11.20, 6.10.20, 6.9.20, 6.8.20 and 7 others\n" in capsys.readouterr().out


def test_a_changelog_without_marks_asks_whose_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "changelog").write_text("* Thu Dec 19 2024 N N <n@example.org> - 6.6.0-69.0.0.75\n- a fix\n")
    assert main(["survey", "--changelog", "changelog"]) == 2
    error = capsys.readouterr().err
    assert "6.6.0-69.0.0.75 is of no distribution that the catalogue knows" in error
    assert error.rstrip().endswith("--distro NAME:MARK")
    assert main(["survey", "--changelog", "changelog", "--distro", "openeuler:oe2403sp1"]) == 0


@pytest.mark.parametrize("inside", [None, "notes.txt", "packages/debian.json"])
def test_a_folder_without_a_survey_is_named(
    inside: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "surveys"
    folder.mkdir()
    if inside is not None:
        (folder / inside).parent.mkdir(exist_ok=True)
        (folder / inside).write_text("{}")
    assert main(["--kernel", "6.6.157", "--surveys", str(folder)]) == 2
    assert f"--surveys {folder}: no survey is in this folder; name the one that" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["stable", "Stable", "my survey"])
def test_what_is_no_survey_in_a_folder_is_named_and_costs_no_audit(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "surveys"
    folder.mkdir(mode=0o700)
    (folder / f"{name}.json").write_text("{}")
    assert main(["--kernel", "6.6.157", "--surveys", str(folder)]) in (1, 3)
    err = capsys.readouterr().err
    assert "a survey is left out: " in err
    assert f"{name}" in err


@pytest.mark.parametrize("address", ["ftp://example.org/changelog", "file:///etc/changelog", "ssh+git://example.org/x"])
def test_an_address_that_is_not_fetched_is_refused(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["survey", "--changelog", address]) == 2
    assert f"{address}: only addresses with http:// or https:// are fetched" in capsys.readouterr().err


def test_an_option_in_its_wrong_place_is_not_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["survey", "list", "--write"])
    err = capsys.readouterr().err
    assert "unrecognized arguments: --write" in err
    assert "did you mean" not in err
