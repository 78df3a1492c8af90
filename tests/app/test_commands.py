"""Subcommands, what is proposed for a wrong word, options without an effect, completion and the manual page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.audit_options import audit_parser
from tailcall_audit.analyzer.app.commands import COMMANDS
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.app.manual import files
from tailcall_audit.analyzer.formats.registry import View, find_format, format_names
from tailcall_audit.analyzer.kernelfiles.changelog.grammar import Family
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.pipeline import audit


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code  # type: ignore[assignment]
    assert code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("lst",), "did you mean list?"),
        (("--kernl", "6.1"), "did you mean --kernel?"),
        (("list", "--jsn"), "did you mean --json?"),
        (("explain", "freplace-lop"), "did you mean freplace-loop?"),
        (("--kernel", "6.1", "--only", "x86-hierachy"), "did you mean x86-hierarchy?"),
        (("--kernel", "6.1", "--arch", "x86_46"), "did you mean x86_64?"),
        (("--kernel", "6.1", "--severity", "hgih"), "did you mean high?"),
        (("--kernel", "6.1", "--fail-on", "afected"), "did you mean affected?"),
        (("--kernel", "6.1", "--min-confidence", "hihg"), "did you mean high?"),
        (("--package", "linux-image-amd64", "--distro", "ubunut"), "did you mean ubuntu?"),
    ],
)
def test_a_wrong_word_is_answered_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], meant: str
) -> None:
    assert meant in error(capsys, *arguments)


def test_a_word_that_nothing_is_like_gets_no_proposal(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean" not in error(capsys, "qqqqqqqq")


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("--kernel", "6.1", "--kvm"), "--confirm=vm"),
        (("--kernel", "6.1", "--guest-memory", "300"), "--confirm=vm"),
        (("--kernel", "6.1", "--guest-timeout", "30", "--confirm"), "--confirm=vm"),
        (("--kernel", "6.1", "--offline"), "--package, --repo or --changelog"),
        (("--kernel", "6.1", "--refresh"), "--package, --repo or --changelog"),
        (("--kernel", "6.1", "--json", "--explain"), "--json always has all defects and all evidence"),
        (("--kernel", "6.1", "--json", "--all"), "--json always has all defects and all evidence"),
        (("--repo", "/srv/mirror", "--explain"), "--package FILE"),
        (("6.1.170", "--no-emulation"), "no target has one"),
        (("--kernel", "6.1", "--rev", "HEAD"), "--tree"),
        (("--kernel", "6.1", "--system-map", "x"), "--image"),
        (("--kernel", "6.1", "--package-version", "1"), "--changelog"),
        (("--kernel", "6.1", "--distro", "debian"), "--package"),
    ],
)
def test_an_option_without_an_effect_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], needed: str
) -> None:
    assert needed in error(capsys, *arguments)


def test_list_and_explain_have_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)["defects"]
    assert main(["explain", "6", "--json"]) == 0
    (loop,) = json.loads(capsys.readouterr().out)["defects"]
    assert loop in everything
    assert loop["defect"] == "freplace-loop"
    fix = next(item for item in loop["commits"] if item["id"].startswith("d6083f040d5d"))
    assert {"branch": "6.12", "state": "backported"}.items() <= fix["branches"][-1].items()


def test_every_subcommand_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([command.name, "--help"])
        assert ended.value.code == 0
        assert f"tailcall-audit {command.name}" in capsys.readouterr().out


def test_the_usage_names_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    usage = capsys.readouterr().out.partition("\n\n")[0]
    assert [command.name for command in COMMANDS if f" {command.name} " not in usage] == []


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse prints help differently from 3.12 on")
def test_the_manual_page_and_the_completion_are_those_of_the_parsers() -> None:
    docs = Path(__file__).parents[2] / "docs"
    for name, text in files().items():
        assert (docs / name).read_text(encoding="utf-8") == text, (
            f"{name}: run python -m tailcall_audit.analyzer.app.manual docs"
        )


def test_a_format_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A module in the folder of formats is all that a new format takes."""
    import tailcall_audit.analyzer.formats as package

    (tmp_path / "shout.py").write_text(
        "def render(report, view):\n    return report.targets[0].name.upper() + '\\n'\n", encoding="utf-8"
    )
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    report = audit(kernels=["6.1.170-lab"], arch="x86_64", only=["6"])
    assert find_format("shout").render(report, View()) == "6.1.170-LAB\n"
    assert "shout" in format_names()
    with pytest.raises(AuditError, match="no output format 'whisper'"):
        find_format("whisper")


def test_a_distribution_for_a_changelog_that_names_its_own_has_no_effect_and_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    changelog = tmp_path / "changelog"
    changelog.write_text(
        "linux (6.1.170-3) bookworm; urgency=medium\n\n  * bpf: Fix it\n\n -- A <a@b.c>  Fri, 08 May 2026 10:00:00 +0000\n"
    )
    for arguments in (("--changelog", str(changelog)), ("survey", "--changelog", str(changelog))):
        said = error(capsys, *arguments, "--distro", "ubuntu")
        assert f"--distro: the versions of {changelog} say whose changelog it is: leave it out" in said


def test_exposure_fetches_nothing_for_a_release_string(capsys: pytest.CaptureFixture[str]) -> None:
    said = error(capsys, "exposure", "--kernel", "6.1.170", "--offline", "prog.bpf.o")
    assert "--offline is about what is fetched, and nothing is" in said


def test_each_grammar_of_changelogs_can_be_named() -> None:
    (option,) = (item for item in audit_parser()._actions if "--changelog-format" in item.option_strings)
    assert option.choices is not None
    assert set(option.choices) == {family.value for family in Family}
