"""argparse with messages that are safe to print, fit a terminal, and propose the closest option."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from tailcall_audit.analyzer.app.streams import say_lines, show
from tailcall_audit.analyzer.errors import did_you_mean
from tailcall_audit.analyzer.text import printable, printable_lines

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["Parser", "SafeParser"]

_KERNEL = "--kernel"
_LONG = 100
"""Words of a command line that argparse reads in no time."""


def _formatter(prog: str) -> argparse.HelpFormatter:
    # With a given width argparse need not import shutil, and with it all compression modules, to ask the terminal.
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=100)


class SafeParser(argparse.ArgumentParser):
    """argparse whose messages quote the arguments safely: nothing of them reaches a terminal raw."""

    def error(self, message: str) -> NoReturn:
        """Prints the usage and the message, in a line of its own, and exits with 2."""
        super().error(printable(message))

    def _check_value(self, action: argparse.Action, value: object) -> None:
        # A value out of a list, or a subcommand.
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            close = did_you_mean(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f"{error.message}{close}") from None

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # Help, version and errors all end here, in every Python so far. Without a file, standard output is closed.
        if file is sys.stderr:
            say_lines(message)
        else:
            show(printable_lines(message))


def _kernels_of(arguments: Sequence[str]) -> tuple[list[str], Sequence[str]]:
    """Returns the kernels of a long command line, and what is left of it for argparse, which looks through all options
    for each one, so that ten thousand of them take it seconds. The first of several in a row is left: it parts the
    words before it from those behind it.

    A command line in which argparse may find a fault, or the option in two spellings, is left to it.
    """
    if len(arguments) < _LONG or "--" in arguments or any(word.startswith(f"{_KERNEL}=") for word in arguments):
        return [], arguments
    kernels, rest, words, in_row = [], [], iter(arguments), False
    for word in words:
        if word != _KERNEL:
            rest.append(word)
            in_row = False
            continue
        kernel = next(words, "-")
        if kernel.startswith("-"):
            return [], arguments
        kernels.append(kernel)
        if not in_row:
            rest += (word, kernel)
        in_row = True
    return kernels, rest


def _options_of(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> list[str]:
    """Returns the options of a parser, those of the chosen one of its own subcommands first."""
    found = list(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = action.choices.get(getattr(chosen, action.dest, None) or "")
            found = [*(_options_of(below, chosen) if below is not None else ()), *found]
    return found


class Parser(SafeParser):
    """The parser of a subcommand."""

    def __init__(self, prog: str, description: str, epilog: str = "", usage: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            usage=usage,
            formatter_class=_formatter,
            allow_abbrev=False,
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Returns the options. On wrong ones, prints the fault and the closest known option, and exits with 2."""
        kernels, few = _kernels_of(arguments) if _KERNEL in self._option_string_actions else ([], arguments)
        options, rest = self.parse_known_args(few)
        if kernels:
            options.kernel = kernels
        if rest:
            unknown = next((word for word in rest if word.startswith("-")), rest[0])
            known = [option for option in _options_of(self, options) if option.startswith("--")]
            name = unknown.partition("=")[0]
            meant = "" if name in known else did_you_mean(name, known)  # it is in its wrong place
            self.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
        return options
