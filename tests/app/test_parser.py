"""Long command lines: their kernels are read as argparse reads them, without its quadratic search."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.app.audit_options import audit_parser
from tailcall_audit.analyzer.app.commands import COMMANDS
from tailcall_audit.analyzer.app.main import main

MANY = [word for number in range(80) for word in ("--kernel", f"6.1.{number}")]
WORDS = st.sampled_from(
    ["6.1.170", "--kernel", "--kernel=6.6.1", "--arch", "x86_64", "--json", "--all", "", "-", "a b", "--confirm", "vm"]
)


def by_argparse(arguments: list[str]) -> argparse.Namespace:
    """What argparse makes of the whole command line; exits if it is wrong."""
    parser = audit_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        parser.error(f"unrecognized arguments: {rest}")
    return options


def test_the_kernels_of_a_long_command_line_keep_their_order() -> None:
    options = audit_parser().read(["--arch", "x86_64", *MANY, "--json"])
    assert options.kernel == MANY[1::2]
    assert (options.arch, options.format) == ("x86_64", "json")


def test_the_word_behind_the_kernels_is_no_argument_of_the_option_before_them() -> None:
    arguments = ["--confirm", *MANY, "6.1.170"]
    assert audit_parser().read(arguments) == by_argparse(arguments)


@pytest.mark.parametrize("more", [["--kernel"], ["--kernel", "--json"], ["--kernels", "6.1.1"], ["--arch"]])
def test_a_fault_in_a_long_command_line_is_named(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        audit_parser().read([*MANY, *more])
    assert caught.value.code == 2
    assert more[0] in capsys.readouterr().err


@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=6))
def test_a_long_command_line_that_argparse_takes_is_read_as_it_reads_it(before: list[str], behind: list[str]) -> None:
    arguments = [*before, *MANY, *behind]
    try:
        wanted = by_argparse(arguments)
    except SystemExit:
        return
    assert audit_parser().read(arguments) == wanted


@pytest.mark.parametrize(
    ("arguments", "close"),
    [
        (["list", "--format", "jsn"], "json"),
        (["--format", "htm"], "html"),
        (["--confirm=vmm"], "vm"),
        (["--changelog-format", "debain"], "debian"),
        (["--nodes-format", "tabel"], "table"),
        (["completion", "bsh"], "bash"),
        (["catalog", "lnit"], "lint"),
        (["survey", "lsit"], "list"),
        (["guest", "fecth"], "fetch"),
        (["catalog", "lint", "--souces", "x"], "--sources"),
        (["guest", "fetch", "arm64", "--siute", "sid"], "--suite"),
        (["survey", "list", "--fromat", "json"], "--format"),
        (["expain"], "explain"),
    ],
)
def test_a_misspelt_choice_subcommand_or_option_names_the_closest(
    arguments: list[str], close: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 2
    assert f"did you mean {close}?" in capsys.readouterr().err


def test_each_choice_of_each_option_is_proposed_for_its_misspelling(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option with choices, of the audit and of each subcommand."""
    seen = 0
    for parser in (audit_parser(), *(command.parser() for command in COMMANDS)):
        for action in parser._actions:
            for choice in action.choices or ():
                with pytest.raises(SystemExit):
                    option = [f"{action.option_strings[0]}={choice}x"] if action.option_strings else [f"{choice}x"]
                    parser.read(option)
                assert f"did you mean {choice}?" in capsys.readouterr().err
                seen += 1
    assert seen > 40
