"""The pages say what is so: their examples print what they show, and their links, paths and options exist."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tailcall_audit import audit
from tailcall_audit.analyzer.app.completion import whole_parser
from tailcall_audit.analyzer.app.main import main
from tailcall_audit.analyzer.kernelfiles.package_file import read_package
from tests.kernels import cache_directory, kernel_source, package_file
from tests.mutants import lacking_image

ROOT = Path(__file__).parents[1]
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""A changelog names what there was, too."""
ELLIPSIS = "…"
"""A line of it stands for lines that a page leaves out."""
AGES = re.compile(r"(?m)^facts: .*\n", re.ASCII)
"""The line that is another one every day, which the pages leave out."""
FROM_THIS_MACHINE = {
    ("host.md", "audit of the machine that runs the tests", ()),
    ("packages.md", "audit of the lists of the machine's own apt", ("--repo", "/var/lib/apt/lists", "--pitfalls")),
}
"""Examples whose output differs on every machine, and why. The rows of the second are compared with the audit of each
build string.
"""


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


def _config() -> Path:
    package = read_package(str(package_file("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1")))
    assert package.config is not None
    path = cache_directory() / "config-6.12.117+deb13-cloud-amd64"
    path.write_bytes(package.config[1])
    return path


def _source() -> Path:
    path, version = kernel_source("6.1", "6.1.170-3")
    if version != "6.1.170-3":
        pytest.skip("linux-source 6.1.170-3 has left the mirror")
    return path


def _package() -> Path:
    path = package_file("linux-image-6.1.0-47-cloud-amd64", "6.1.170-3")
    if "6.1.170-3" not in path.name:
        pytest.skip("linux-image-6.1.0-47-cloud-amd64 6.1.170-3 has left the mirror")
    return path


FILES: dict[str, Callable[[], Path]] = {
    "linux-image-6.1.0-47-cloud-amd64_6.1.170-3_amd64.deb": _package,
    "linux-source-6.1": _source,
    "config-6.12.117+deb13-cloud-amd64": _config,
    **{
        name: partial(lacking_image, name)
        for name in ("vmlinux-5.10.218-no-ff672c67ee76", "vmlinux-6.1.170-no-f7866c358733")
    },
}
"""The files that examples name, and where a test gets them from."""
EVERY = [example for page in PAGES for example in examples(page)]
RUNNABLE = [
    example
    for example in EVERY
    if (example.page.name, example.arguments) not in {(page, arguments) for page, _, arguments in FROM_THIS_MACHINE}
]


def pattern(output: str) -> str:
    """A regular expression for what a page shows."""
    lines = [r"(?:.*\n)*?" if line.strip() == ELLIPSIS else re.escape(line) + r"\n" for line in output.splitlines()]
    return "".join(lines)


def test_the_readme_and_a_page_have_examples_that_run_anywhere() -> None:
    anywhere = {example.page.name for example in RUNNABLE if not FILES.keys() & set(example.arguments)}
    assert anywhere >= {"README.md", "releases.md"}
    assert len(EVERY) - len(RUNNABLE) == len(FROM_THIS_MACHINE)


@pytest.mark.parametrize("example", RUNNABLE, ids=str)
def test_an_example_prints_what_the_page_shows(
    example: Example, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--confirm=vm" in example.arguments and not shutil.which("qemu-system-x86_64"):
        pytest.skip("no qemu-system-x86_64 on this machine: install qemu-system-x86")
    for name in FILES.keys() & set(example.arguments):
        (tmp_path / name).symlink_to(FILES[name]())
    monkeypatch.chdir(tmp_path)
    main(example.arguments)
    shown = AGES.sub("", capsys.readouterr().out).strip("\n")
    if ELLIPSIS in example.output.split():
        assert re.fullmatch(pattern(example.output), shown + "\n"), shown
    else:
        assert shown == example.output


def test_the_rows_of_the_example_of_a_repository_are_what_their_build_strings_give() -> None:
    (example,) = [example for example in EVERY if "--repo" in example.arguments]
    rows = re.findall(r"(?m)^linux-image-\S+ (\S+) x86_64 +(\S.*)$", example.output)
    assert len(rows) >= 4
    for version, cells in rows:
        target = audit(kernels=[f"#1 SMP Debian {version} (2026-01-01)"], arch="x86_64", pitfalls=True).targets[0]
        assert [cell.lower() for cell in cells.split()] == [item.state.value for item in target.verdicts], version


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_a_path_of_the_repository_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:analyzer|probes|catalog|tests|bench|bin|tools|docs)/[\w./-]*)`", text)
    made_up = re.compile(r"NAME|SLUG|ID|DISTRO|ARCHITECTURE")
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
