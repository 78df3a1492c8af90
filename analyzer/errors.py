"""The errors of input that cannot be audited: everything raises them, so nothing lies below."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["AuditError", "UnknownDefectError", "UsageError"]


class AuditError(Exception):
    """Input that cannot be audited: wrong usage, an unreadable or a malformed file. The message names it and a remedy."""


class UsageError(AuditError):
    """Parameters that contradict each other or lack another one.

    `template` names parameters of `audit()` in braces. The command line prints its own options in their place.
    """

    def __init__(self, template: str) -> None:
        super().__init__(re.sub(r"\{(\w+)\}", r"\1", template))
        self._template = template

    def named(self, options: Mapping[str, str]) -> str:
        """Returns the message with the names of options in the place of the parameters'."""
        return re.sub(r"\{(\w+)\}", lambda match: options.get(match.group(1), match.group()), self._template)


class UnknownDefectError(AuditError):
    """A name that no defect of the catalogue has; the message proposes the closest one."""

    def __init__(self, name: str, known: list[str]) -> None:
        from difflib import get_close_matches  # loaded for an error only

        close = get_close_matches(name[:80], known, n=1, cutoff=0.6)
        meant = f"did you mean {close[0]}?" if close else "`tailcall-audit list` shows them"
        super().__init__(f"no defect {name!r} in the catalogue; {meant}")
