"""The errors for input that cannot be audited. Every module may raise them, so this module imports none of the
others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["AuditError", "UnknownDefectError", "UsageError"]


class AuditError(Exception):
    """Input that cannot be audited: wrong usage, or an unreadable or malformed file. The message names the input and a
    remedy.
    """


class UsageError(AuditError):
    """Parameters that contradict each other, or one that requires another.

    `template` names parameters of `audit()` in braces. The command line replaces these by its own options.
    """

    def __init__(self, template: str) -> None:
        super().__init__(re.sub(r"\{(\w+)\}", r"\1", template))
        self._template = template

    def named(self, options: Mapping[str, str]) -> str:
        """Returns the message with the parameters replaced by the names of options."""
        return re.sub(r"\{(\w+)\}", lambda match: options.get(match.group(1), match.group()), self._template)


class UnknownDefectError(AuditError):
    """A name that matches no defect of the catalogue. The message suggests the closest one."""

    def __init__(self, name: str, known: list[str]) -> None:
        from difflib import get_close_matches  # imported only when the error occurs

        close = get_close_matches(name[:80], known, n=1, cutoff=0.6)
        meant = f"did you mean {close[0]}?" if close else "`tailcall-audit list` shows them"
        super().__init__(f"no defect {name!r} in the catalogue; {meant}")
