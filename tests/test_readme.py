"""The pages say what is so: their examples print what they show, and their links, paths and options exist."""

from __future__ import annotations

import argparse
import re
import shlex
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from tailcall_audit.analyzer.app.completion import whole_parser
from tailcall_audit.analyzer.app.main import main

ROOT = Path(__file__).parents[1]
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""A changelog names what there was, too."""
SELF_CONTAINED = {"--kernel", "--arch", "--only", "--pitfalls", "--explain", "--json", "--all"}


class Example(NamedTuple):
    page: Path
    arguments: tuple[str, ...]
    output: str

    def __str__(self) -> str:
        return f"{self.page.name}: {shlex.join(self.arguments)}"


def examples(page: Path) -> list[Example]:
    """The commands of a page that show what they print: an indented block that begins with `$ tailcall-audit`."""
    blocks = re.findall(
        r"(?m)^    \$ tailcall-audit(.*)\n((?:(?:    .*)?\n)*)", page.read_text(encoding="utf-8") + "\n"
    )
    return [
        Example(page, tuple(shlex.split(command)), textwrap.dedent(output).strip("\n")) for command, output in blocks
    ]


def needs_no_file(example: Example) -> bool:
    options = {word for word in example.arguments if word.startswith("--")}
    return "--kernel" in options and options <= SELF_CONTAINED


RUNNABLE = [example for page in PAGES for example in examples(page) if needs_no_file(example)]


def test_the_readme_and_a_page_have_examples_that_run_anywhere() -> None:
    assert {example.page.name for example in RUNNABLE} >= {"README.md", "releases.md"}


@pytest.mark.parametrize("example", RUNNABLE, ids=str)
def test_an_example_prints_what_the_page_shows(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    main(example.arguments)
    assert capsys.readouterr().out.strip("\n") == example.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_a_path_of_the_repository_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:analyzer|probes|catalog|tests|bench|bin|tools|docs)/[\w./-]*)`", text)
    made_up = re.compile(r"NAME|SLUG|ID|DISTRO")
    assert [path for path in paths if not made_up.search(path) and not (ROOT / path).exists()] == []


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a parser and of all its subcommands."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                found |= options(inner)
    return found


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_an_option_in_a_command_of_a_page_is_one_of_the_tool(page: Path) -> None:
    commands = re.findall(r"(?m)^    (?:\$ |sudo )?tailcall-audit .*", page.read_text(encoding="utf-8"))
    used = {option for command in commands for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", command.split("  #")[0])}
    assert used - options(whole_parser()) == set()
