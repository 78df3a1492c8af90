"""What the subcommands share: exit codes, progress, where the output goes, and the options that several have."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.app.streams import say, show
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import AuditError, Report, State
from tailcall_audit.analyzer.text import printable

if TYPE_CHECKING:
    from tailcall_audit.analyzer.live.confirm import Guests

__all__ = [
    "EXIT_AFFECTED",
    "EXIT_CLEAN",
    "EXIT_CONTRADICTED",
    "EXIT_INTERNAL",
    "EXIT_INTERRUPTED",
    "EXIT_UNKNOWN",
    "EXIT_USAGE",
    "Progress",
    "add_catalog_options",
    "add_choice_options",
    "add_guest_options",
    "emit",
    "emit_pieces",
    "exit_code",
    "load",
    "load_with_surveys",
    "make_guests",
    "names",
    "positive",
]

_GUEST_MEMORY = 512
"""MiB."""
_GUEST_TIMEOUT = 90
"""Seconds."""

EXIT_CLEAN = 0
EXIT_AFFECTED = 1
EXIT_USAGE = 2
EXIT_UNKNOWN = 3
EXIT_INTERNAL = 4
EXIT_CONTRADICTED = 5
EXIT_INTERRUPTED = 130


class Progress:
    """A line on standard error, once something has taken more than a second; nothing when that is no terminal."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._start = self._last = time.monotonic()
        self._shown = False

    def __call__(self, text: str) -> None:
        """Shows what is being done, at most ten times a second."""
        now = time.monotonic()
        if not self._enabled or now - self._start < 1 or now - self._last < 0.1:
            return
        self._last = now
        self._shown = True
        with suppress(OSError, ValueError):
            width = max(20, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
            sys.stderr.write(f"\r\x1b[K{printable(text)[:width]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            with suppress(OSError, ValueError):
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()


def _write_file(name: str, text: str) -> None:
    """Writes a report to a file; raises AuditError."""
    from tailcall_audit.probes.writing import write_file

    path = os.path.expanduser(name)
    try:
        write_file(path, text.encode("utf-8", "replace"))
    except OSError as error:
        raise AuditError(f"--output {path}: cannot write: {error.strerror or error}") from error


def emit(text: str, output: str | None) -> None:
    """Writes a text to a file, whole or not at all, or to standard output; raises AuditError or OutputError."""
    emit_pieces((text,), output)


def emit_pieces(pieces: Iterable[str], output: str | None) -> None:
    """Writes the pieces of a text, to standard output one by one; raises AuditError or OutputError."""
    if output is None:
        show(pieces)
    else:
        _write_file(output, "".join(pieces))


def exit_code(report: Report, allow_unknown: bool) -> int:
    """Returns the exit code of a report: the worst of what is in it."""
    if report.has_contradiction():
        return EXIT_CONTRADICTED
    if report.has(State.AFFECTED):
        return EXIT_AFFECTED
    if (report.has(State.UNKNOWN) or report.skipped) and not allow_unknown:
        return EXIT_UNKNOWN
    return EXIT_CLEAN


def names(options: argparse.Namespace) -> list[str]:
    """Returns the defects that --only names."""
    return [name for names in options.only for name in names.split(",") if name or len(names) < 2]


def make_guests(options: argparse.Namespace) -> Guests:
    """Returns how guests are booted, as the options say."""
    from tailcall_audit.analyzer.live.confirm import Guests
    from tailcall_audit.probes.guest.boot import Guest

    return Guests(
        Guest(
            memory=options.guest_memory or _GUEST_MEMORY,
            patience=float(options.guest_timeout or _GUEST_TIMEOUT),
            kvm=options.kvm,
        )
    )


def load(path: str | None) -> Catalog:
    """Returns the catalogue at a path, else the shipped one; raises CatalogError."""
    return load_catalog(None if path is None else os.path.expanduser(path))


def load_with_surveys(path: str | None) -> Catalog:
    """Returns the catalogue with what the user's surveys add to it. One that cannot be read is named on standard error."""
    from tailcall_audit.analyzer.survey.folder import has_surveys, user_folder

    catalog = load(path)
    if not has_surveys():
        return catalog
    from tailcall_audit.analyzer.survey.compare import with_surveys
    from tailcall_audit.analyzer.survey.store import Store

    return with_surveys(catalog, Store(user_folder()).readable(lambda why: say(f"a survey is left out: {why}")))


def add_guest_options(group: argparse._ArgumentGroup) -> None:
    """The options of guests, which an audit and the lab share."""
    group.add_argument("--kvm", action="store_true", help="let the guest run on the processor itself, not emulated")
    group.add_argument("--guest-memory", type=positive, metavar="MIB", help="the guest's memory (512)")
    group.add_argument(
        "--guest-timeout",
        type=positive,
        metavar="SECONDS",
        help="how long a guest may be silent before it is given up (90)",
    )


def positive(text: str) -> int:
    """Returns a number above 0; raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 20):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def add_choice_options(group: argparse._ActionsContainer) -> None:
    """Adds the options that select defects."""
    group.add_argument(
        "--only", action="append", default=[], metavar="SLUG,…", help="only these, by slug or pitfall number"
    )
    group.add_argument("--pitfalls", action="store_true", help="only the six pitfalls")


def add_catalog_options(group: argparse._ActionsContainer) -> None:
    """Adds the options that every subcommand with a catalogue has."""
    group.add_argument("--catalog", metavar="FILE", help="another commits.json")
    group.add_argument("--debug", action="store_true", help="a traceback on an internal error")
