"""Standard output and standard error, also if they are closed, full, of any encoding, or read by a program that has
ended.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.text import printable, printable_lines

__all__ = ["OutputError", "prepare", "say", "say_lines", "show", "showing"]

_STAND_INS = {
    "·": "-",
    "…": "...",
    "\u2013": "-",
    "—": "-",
    "\u2018": "'",
    "\u2019": "'",
    "“": '"',
    "”": '"',
    "→": "->",
}
_ERRORS = "tailcall-audit.stand-in"


class OutputError(AuditError):
    """A report that cannot be written to standard output."""


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    """Returns the replacement for letters that the encoding of the stream does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_STAND_INS.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


def prepare() -> None:
    """Makes the standard streams safe to use. Called once, before any file is opened.

    A standard descriptor that is closed is opened on /dev/null: the next file that is opened would take its number, and
    get what is written to that stream. Warnings of libraries may hold text of an input, and are not shown.
    """
    import warnings

    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, flags)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    codecs.register_error(_ERRORS, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_ERRORS)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def _abandon(stream: TextIO) -> None:
    """Discards the rest of a stream's buffer: Python would try to write it again at its end, and fail."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()


@contextmanager
def showing() -> Iterator[None]:
    """A block that writes to standard output. Raises OutputError if that fails: a reader that closes the pipe early
    (``| head``) has not seen the whole answer.
    """
    stream = sys.stdout
    if stream is None:
        raise OutputError("standard output is closed: nothing can be shown; --output FILE writes to a file")
    try:
        yield
        stream.flush()
    except OSError as error:
        _abandon(stream)
        raise OutputError(f"standard output: cannot write: {error.strerror or error}") from error


def show(text: str | Iterable[str]) -> None:
    """Writes text, or its pieces one by one, to standard output; raises OutputError."""
    with showing():
        for piece in (text,) if isinstance(text, str) else text:
            sys.stdout.write(piece)


def say(text: str) -> None:
    """Writes one line for the user to standard error. Never fails: if standard error is gone, the line is lost."""
    say_lines(f"tailcall-audit: {printable(text)}\n")


def say_lines(text: str) -> None:
    """Writes text of our own, with its line breaks, to standard error; never fails."""
    try:
        sys.stderr.write(printable_lines(text))
        sys.stderr.flush()
    except (OSError, ValueError):
        _abandon(sys.stderr)
