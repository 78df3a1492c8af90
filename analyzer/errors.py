"""The errors for input that cannot be audited. Every module may raise them, so this module imports none of the
others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

__all__ = ["AuditError", "UnknownDefectError", "UsageError", "did_you_mean", "naming", "parameter"]

_OPTIONS: ContextVar[Mapping[str, str]] = ContextVar("options", default=MappingProxyType({}))
"""The option of each parameter of `audit()` while the command line runs; empty in a program that calls `audit()`.

It belongs to the call, not to the process: another thread of the program that calls `audit()` meanwhile has none.
"""


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Returns "; did you mean X?" for the closest known word, or nothing if none is close."""
    from difflib import get_close_matches  # loaded for an error only

    close = get_close_matches(given[:80], list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


@contextmanager
def naming(options: Mapping[str, str]) -> Iterator[None]:
    """Lets messages name options instead of parameters of `audit()`. The command line calls it. Worker processes
    inherit it, and a thread that makes messages is started in a copy of the context.
    """
    token = _OPTIONS.set({**_OPTIONS.get(), **options})
    try:
        yield
    finally:
        _OPTIONS.reset(token)


def parameter(name: str, value: str = "") -> str:
    """Returns a parameter of `audit()` as a message names it: with a value as ``rev=HEAD``, or as the option
    ``--rev HEAD`` while the command line runs.
    """
    option = _OPTIONS.get().get(name)
    if option is None:
        return f"{name}={value}" if value else name
    return f"{option} {value}" if value else option


class AuditError(Exception):
    """Input that cannot be audited: wrong usage, or an unreadable or malformed file. The message names the input and a
    remedy.
    """


class UsageError(AuditError):
    """Parameters that contradict each other, or one that requires another.

    `template` names parameters of `audit()` in braces; the message has them as `parameter` names them.
    """

    def __init__(self, template: str) -> None:
        super().__init__(re.sub(r"\{(\w+)\}", lambda match: parameter(match.group(1)), template))


class UnknownDefectError(AuditError):
    """A name that matches no defect of the catalogue. The message suggests the closest one."""

    def __init__(self, name: str, known: list[str]) -> None:
        meant = did_you_mean(name, known) or "; `tailcall-audit list` shows them"
        super().__init__(f"no defect {name!r} in the catalogue{meant}")
