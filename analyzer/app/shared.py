"""Shared by the subcommands: exit codes, progress, output, and common options."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from tailcall_audit.analyzer.app.settings import NONE
from tailcall_audit.analyzer.app.streams import say, show
from tailcall_audit.analyzer.catalog.load import load_catalog
from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import expanded
from tailcall_audit.analyzer.text import printable

if TYPE_CHECKING:
    from tailcall_audit.analyzer.live.confirm import Guests
    from tailcall_audit.analyzer.web.repositories import KnownRepository

__all__ = [
    "EXIT_AFFECTED",
    "EXIT_CLEAN",
    "EXIT_CONTRADICTED",
    "EXIT_INTERNAL",
    "EXIT_INTERRUPTED",
    "EXIT_UNKNOWN",
    "EXIT_USAGE",
    "FORMATS",
    "Progress",
    "add_catalog_options",
    "add_choice_options",
    "add_format_options",
    "add_guest_options",
    "check_guest_python",
    "emit",
    "emit_pieces",
    "known_repositories",
    "load",
    "load_with_surveys",
    "make_guests",
    "names",
    "now",
    "positive",
]

FORMATS = ("plain", "json")
"""The formats of subcommands that audit nothing."""
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
    """A line on standard error about work that takes more than a second; nothing if that is no terminal."""

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._start = self._last = time.monotonic()
        self._shown = False

    def __call__(self, text: str) -> None:
        """Shows the current step, at most ten times a second."""
        now = time.monotonic()
        if not self._enabled or now - self._start < 1 or now - self._last < 0.1:
            return
        self._last = now
        with suppress(OSError, ValueError):
            width = max(20, os.get_terminal_size(sys.stderr.fileno()).columns - 1)
            self._shown = True  # a pipe has no size: nothing is shown, and nothing has to be removed
            sys.stderr.write(f"\r\x1b[K{printable(text)[:width]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Removes the line."""
        if self._shown:
            with suppress(OSError, ValueError):
                sys.stderr.write("\r\x1b[K")
                sys.stderr.flush()


def _write_file(name: str, pieces: Iterable[str]) -> None:
    """Writes a report to a file; raises AuditError. The report is in memory once."""
    from tailcall_audit.probes.writing import write_file

    path, data = os.path.expanduser(name), bytearray()
    for piece in pieces:
        data += piece.encode("utf-8", "replace")
    try:
        write_file(path, data)
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
        _write_file(output, pieces)


def now() -> float:
    """Returns the time of a report, in seconds since 1970: SOURCE_DATE_EPOCH, where that is set, makes it the same
    again. Raises AuditError where it is no number.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "").strip()
    if not given:
        return time.time()
    if not (given.isascii() and given.isdigit() and len(given) < 12):
        raise AuditError(f"SOURCE_DATE_EPOCH: {given!r} is no number of seconds")
    return float(given)


def names(options: argparse.Namespace) -> list[str]:
    """Returns the defects that --only names."""
    return [name for names in options.only for name in names.split(",") if name or len(names) < 2]


def check_guest_python(options: argparse.Namespace) -> None:
    """Raises AuditError if what --guest-python names holds no Python. Called first: an audit may take a minute."""
    if options.guest_python:
        from tailcall_audit.analyzer.live.pythons.choose import check_root

        check_root(expanded(options.guest_python))


def make_guests(options: argparse.Namespace) -> Guests:
    """Returns how guests are booted, as the options say."""
    from tailcall_audit.analyzer.live.confirm import Guests
    from tailcall_audit.probes.guest.boot import Guest

    return Guests(
        Guest(
            memory=options.guest_memory or _GUEST_MEMORY,
            patience=float(options.guest_timeout or _GUEST_TIMEOUT),
            kvm=options.kvm,
        ),
        expanded(options.guest_python) if options.guest_python else None,
    )


def load(path: str | None) -> Catalog:
    """Returns the catalogue at a path, else the shipped one; raises CatalogError."""
    return load_catalog(None if path is None else os.path.expanduser(path))


class _LeftOut:
    """Names each survey that cannot be read on standard error, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, why: str) -> None:
        self.count += 1
        say(f"a survey is left out: {why}")


def load_with_surveys(path: str | None, surveys: str | None = None) -> Catalog:
    """Returns the catalogue with what the surveys of a folder (None: the user's; "none": of none) add to it.

    One that cannot be read is named on standard error. Raises AuditError if a folder is named that is none, or that
    has no survey.
    """
    from tailcall_audit.analyzer.survey.folder import has_surveys, user_folder

    catalog = load(path)
    if surveys == NONE or (surveys is None and not has_surveys()):
        return catalog
    from tailcall_audit.analyzer.paths import Kind, expanded, kind_of
    from tailcall_audit.analyzer.survey.compare import with_surveys
    from tailcall_audit.analyzer.survey.store import Store

    folder = user_folder() if surveys is None else expanded(surveys)
    if surveys is not None and kind_of(folder) is not Kind.FOLDER:
        raise AuditError(f"--surveys {surveys}: no such folder; name a folder of surveys, or none")
    found = list(Store(folder).readable(left_out := _LeftOut()))
    if surveys is not None and not found and not left_out.count:
        raise AuditError(
            f"--surveys {surveys}: no survey is in this folder; name the one that `survey … --write --into DIR` kept some in,"
            " or none"
        )
    return with_surveys(catalog, found)


def known_repositories(places: Sequence[str]) -> tuple[KnownRepository, ...]:
    """Returns the repositories for look-ups: those of these places, and those that the user named to ``survey``.

    A list that cannot be read is named on standard error.
    """
    from tailcall_audit.analyzer.survey.folder import has_surveys, user_folder

    if not places and not has_surveys():
        return ()
    from tailcall_audit.analyzer.web.repositories import KnownRepository, read_repositories

    kept = read_repositories(str(user_folder().parent), lambda why: say(f"left out: {why}")) if has_surveys() else ()
    return (*(KnownRepository(place.strip(), ()) for place in places), *kept)


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
    group.add_argument(
        "--guest-python",
        metavar="DIR|FILE",
        help="a root file system with a Python for guests of another architecture: a folder, or a tar archive (else the"
        " one that guest fetch fetched)",
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
    group.add_argument(
        "--severity", metavar="LEVEL", help="only defects of this severity or above: low, medium, high, critical"
    )


def add_format_options(
    group: argparse._ActionsContainer, formats: Iterable[str], words: str, default: str | None = None
) -> None:
    """Adds ``--format``, with the help text `words`, and ``--json``. With argparse.SUPPRESS as `default`, what an outer
    parser read stays.
    """
    choice = group.add_mutually_exclusive_group()
    choice.add_argument("--format", metavar="NAME", choices=formats, default=default, help=words)
    choice.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="json",
        default=default,
        help="the same as --format json",
    )


def add_catalog_options(group: argparse._ActionsContainer) -> None:
    """Adds the options that every subcommand with a catalogue has."""
    group.add_argument("--catalog", metavar="FILE", help="another commits.json")
    group.add_argument(
        "--settings",
        metavar="FILE",
        help="defaults and waivers (docs/gates.md); none: not those of the user's configuration folder either",
    )
    group.add_argument("--debug", action="store_true", help="a traceback on an internal error")
