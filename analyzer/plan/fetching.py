"""The command that brings the object of a commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tailcall_audit.analyzer.catalog.commit import Commit
from tailcall_audit.analyzer.plan.types import MAINLINE, Origin

__all__ = ["Fetch", "fetch_command"]

_MAINLINE = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git"
_STABLE = "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git"


class Fetch(NamedTuple):
    """The form of a commit that is nearest to a tree, as far as the catalogue knows, and the command that brings it."""

    origin: Origin
    command: str


def fetch_command(commit: Commit, rank: Callable[[str], tuple[int, int]], own: str) -> Fetch:
    """Returns the nearest known form of a commit for a tree of the branch `own`, and how to get it.

    The command is for the user to run: nothing is fetched here. A backport of the own branch without a known id is
    found by its message, in the whole branch.
    """
    known = [Origin(commit.id, commit.only_on_branch or MAINLINE)]
    known += [Origin(fact.id, fact.branch) for fact in commit.branches.values() if fact.id is not None]
    best = min(known, key=lambda origin: rank(origin.source))
    fact = commit.branches.get(own)
    if fact is not None and fact.backported and fact.id is None:
        ref = f"linux-{own}.y"
        return Fetch(best, f"git fetch {_STABLE} {ref}:refs/remotes/stable/{ref}   then --upstream stable/{ref}")
    if best.source == MAINLINE:
        return Fetch(best, f"git fetch {_MAINLINE} master")

    return Fetch(best, f"git fetch {_STABLE} linux-{best.source}.y")
