"""Long command lines: their kernels are read as argparse reads them, without its quadratic search."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailcall_audit.analyzer.app.audit_options import audit_parser

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
