"""The data type for a node of a list."""

from __future__ import annotations

from typing import NamedTuple

from tailcall_audit.analyzer.model import AuditError, LivePatches

__all__ = ["MAX_NAME", "NodeRow", "NodesError", "named"]

MAX_NAME = 300
"""The maximum length of a node's name in characters. DNS allows 253."""


class NodesError(AuditError):
    """A list of nodes that cannot be read."""


class NodeRow(NamedTuple):
    """One node: its name and its kernel. Without a kernel, `skipped` is the reason.

    `text` is a release string or a line of ``uname -a``. `architecture` is in the spelling of the list.
    """

    name: str
    text: str | None = None
    architecture: str | None = None
    live_patches: LivePatches = LivePatches.UNKNOWN
    skipped: str | None = None


def named(value: object) -> str:
    """Returns a value of a list as a name, cut at the maximum length. Empty if the value is neither a text nor a
    number.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)[:MAX_NAME]
    return value.strip()[:MAX_NAME] if isinstance(value, str) else ""
