"""A node of a list, as a value."""

from __future__ import annotations

from typing import NamedTuple

from tailcall_audit.analyzer.model import AuditError, LivePatches

__all__ = ["MAX_NAME", "NodeRow", "NodesError", "named"]

MAX_NAME = 300
"""Letters of a node's name: DNS allows 253."""


class NodesError(AuditError):
    """A list of nodes that cannot be read."""


class NodeRow(NamedTuple):
    """One node: its name, and what names its kernel, or else the reason why nothing does.

    `text` is a release string or a line of ``uname -a``, `architecture` the list's own word for it.
    """

    name: str
    text: str | None = None
    architecture: str | None = None
    live_patches: LivePatches = LivePatches.UNKNOWN
    skipped: str | None = None


def named(value: object) -> str:
    """Returns a value of a list as a name, cut where no name is that long; nothing where it is no text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)[:MAX_NAME]
    return value.strip()[:MAX_NAME] if isinstance(value, str) else ""
