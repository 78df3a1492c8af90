"""The command that brings the object of a commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.types import Commit
from tailcall_audit.analyzer.plan.types import MAINLINE, Origin

__all__ = ["Fetch", "fetch_command"]

_MAINLINE = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git"
_STABLE = "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git"


class Fetch(NamedTuple):
    """The form of a commit that is nearest to a tree, as far as the catalogue knows, and the command that brings it."""

    origin: Origin
    command: str


def fetch_command(commit: Commit, rank: Callable[[str], tuple[int, int]]) -> Fetch:
    """How to get the nearest known form of a commit. It is for the user to run: nothing is fetched here."""
    known = [Origin(commit.id, commit.only_on_branch or MAINLINE)]
    known += [Origin(fact.id, fact.branch) for fact in commit.branches.values() if fact.id is not None]
    best = min(known, key=lambda origin: rank(origin.source))
    if best.source == MAINLINE:
        return Fetch(best, f"git fetch {_MAINLINE} master")

    return Fetch(best, f"git fetch {_STABLE} linux-{best.source}.y")
