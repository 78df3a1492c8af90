"""``--format`` is the same word in every subcommand that prints a report or a list. ``--json`` means ``--format json``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailcall_audit.analyzer.app.commands import COMMANDS
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.survey.store import Store
from tailcall_audit.analyzer.survey.types import Kind, Survey

SILENT = {
    ("catalog",),
    ("catalog", "build"),
    ("catalog", "docs"),
    ("guest",),
    ("guest", "fetch"),
    ("survey", "forget"),
    ("completion",),
}
"""What prints no report and no list: groups of commands, what writes files, and scripts for a shell."""


def parsers(
    found: argparse.ArgumentParser, name: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    yield name, found
    for action in found._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner, parser in action.choices.items():
                yield from parsers(parser, (*name, inner))


EVERY = [pair for command in COMMANDS for pair in parsers(command.parser(), (command.name,))]


@pytest.mark.parametrize(("name", "parser"), EVERY, ids=[" ".join(name) for name, _ in EVERY])
def test_each_command_has_both_words_or_prints_nothing_to_format(
    name: tuple[str, ...], parser: argparse.ArgumentParser
) -> None:
    options = parser._option_string_actions
    assert ("--format" in options) == ("--json" in options) == (name not in SILENT)
    if "--format" in options:
        assert "json" in (options["--format"].choices or ())
        assert options["--json"].dest == options["--format"].dest == "format"
        assert options["--json"].const == "json"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # in this checkout its own surveys are listed, too
    survey = Survey(Kind.STABLE, "stable", "a clone", "2026-11-20", {"6.6": "6.6.158"}, ())
    Store(tmp_path / "tailcall-audit/surveys").write(survey)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("word", [["--json"], ["--format", "json"]])
def test_surveys_that_are_kept(word: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for call in (["survey", "list", *word], ["survey", *word, "list"]):
        assert main(call) == 0
        (row,) = json.loads(capsys.readouterr().out)["surveys"]
        assert (row["name"], row["reach"]) == ("stable", {"6.6": "6.6.158"})
    assert main(["survey", "show", "stable", *word, "--output", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out").read_text())["reach"] == {"6.6": "6.6.158"}
    assert main(["survey", "show", "stable"]) == 0
    assert "stable survey of a clone" in capsys.readouterr().out


def test_guests_that_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for word in (["--json"], ["--format", "json"]):
        assert main(["guest", "list", *word]) == 0
        names = [row["architecture"] for row in json.loads(capsys.readouterr().out)["architectures"]]
        assert {"x86_64", "arm64", "s390x"} <= set(names)
    assert main(["guest", "list", "--format", "plain"]) == 0
    assert capsys.readouterr().out.startswith("ARCHITECTURE")
