"""The subcommands. A new one is a module with `parser()` and `run(arguments)`, and a row here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tailcall_audit.analyzer.app.parser import Parser

__all__ = ["COMMANDS", "Command"]


class Command(NamedTuple):
    """A subcommand: its name, what it does in a line, and its module, which is loaded when it is called."""

    name: str
    help: str
    module: str

    def run(self, arguments: Sequence[str]) -> int:
        """Runs it and returns the exit code; raises AuditError."""
        code: int = import_module(f"tailcall_audit.analyzer.app.{self.module}").run(arguments)
        return code

    def parser(self) -> Parser:
        """Returns its parser."""
        found: Parser = import_module(f"tailcall_audit.analyzer.app.{self.module}").parser()
        return found


COMMANDS = (
    Command("list", "the defects of the catalogue", "list_defects"),
    Command("explain", "the whole story of a defect", "explain"),
    Command("exposure", "whether BPF programs meet a defect, and on which kernels", "exposure"),
    Command("plan", "which commits mend a tree, in which order, and whether they apply", "plan"),
    Command("diff", "what changed between two reports", "diff"),
    Command("lab", "many kernels in guests", "lab"),
    Command("guest", "what guests of other architectures need", "guest"),
    Command("catalog", "build and check the catalogue", "catalog"),
    Command("survey", "facts about kernels, read from a source once", "survey"),
    Command("completion", "completion for a shell", "completion"),
)
