"""``tailcall-audit completion``: completion for a shell, made from the parsers."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tailcall_audit.analyzer.app.audit_options import audit_parser
from tailcall_audit.analyzer.app.commands import COMMANDS
from tailcall_audit.analyzer.app.parser import Parser
from tailcall_audit.analyzer.app.shared import EXIT_CLEAN, emit
from tailcall_audit.analyzer.model import AuditError

__all__ = ["completion", "parser", "run", "whole_parser"]

SHELLS = ("bash", "zsh", "tcsh")


def parser() -> Parser:
    """Returns the parser of ``completion``."""
    found = Parser(
        "tailcall-audit completion",
        "Prints completion for a shell. For bash: tailcall-audit completion bash"
        " > ~/.local/share/bash-completion/completions/tailcall-audit",
    )
    found.add_argument("shell", choices=SHELLS, help="the shell")
    found.add_argument("--debug", action="store_true", help="a traceback on an internal error")
    return found


def whole_parser() -> argparse.ArgumentParser:
    """Returns one parser of the audit and of all subcommands, for completion and for the manual page."""
    whole = audit_parser()
    for action in list(whole._actions):
        if not action.option_strings:
            whole._remove_action(action)
    places = whole.add_subparsers(title="subcommands", metavar="SUBCOMMAND", parser_class=argparse.ArgumentParser)
    for command in COMMANDS:
        known = command.parser()
        places.add_parser(
            command.name, parents=[known], add_help=False, help=command.help, description=known.description
        )
    return whole


def completion(shell: str) -> str:
    """Returns the completion script of a shell; raises AuditError without shtab."""
    try:
        import shtab
    except ImportError as error:
        raise AuditError("completion needs shtab: pip install 'tailcall-audit[completion]'") from error
    script: str = shtab.complete(whole_parser(), shell)
    return script


def run(arguments: Sequence[str]) -> int:
    """Prints the script and returns the exit code; raises AuditError."""
    emit(completion(parser().read(arguments).shell), None)
    return EXIT_CLEAN
