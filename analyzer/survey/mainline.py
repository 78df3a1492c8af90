"""Finds the first mainline release or candidate that contains each commit of the catalogue, by a clone's tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pygit2

from tailcall_audit.analyzer.catalog.types import Catalog
from tailcall_audit.analyzer.kernelfiles.git_walk import Batch, WalkError, walk_ids
from tailcall_audit.analyzer.survey.releases import Earliest, read_tags
from tailcall_audit.analyzer.survey.types import MAINLINE, Claim, State

__all__ = ["mainline_claims"]

_STEP = 1 << 16
"""Commits between two reports of progress."""
_MAX_COMMITS = 3_000_000
"""Mainline had 1.4 million commits in 2025."""


def _counted(batches: Iterator[Batch], progress: Callable[[str], None]) -> Iterator[Batch]:
    count = 0
    for batch in batches:
        steps = count // _STEP
        count += len(batch.ids)
        if count // _STEP > steps:
            progress(f"mainline: {count:,} commits")
        yield batch


def mainline_claims(
    catalog: Catalog, repository: pygit2.Repository, name: str, notes: list[str], progress: Callable[[str], None]
) -> Iterator[Claim]:
    """Yields a claim for every commit of the catalogue that mainline's tags contain. Broken history raises no error: a
    clone whose history breaks off before a commit still shows which tags contain that commit. `notes` gets the reason.
    """
    tags = {version: commit for version, commit in read_tags(repository).items() if not version.sublevel}
    wanted = {commit.id: key for key, commit in catalog.commits.items() if len(commit.id) == 40}
    wanted = {name: key for name, key in wanted.items() if name in repository}
    if not tags or not wanted:
        return
    newest = max(tags)
    earliest = Earliest({commit: version for version, commit in tags.items()}, frozenset(wanted))
    left = {name.encode() for name in wanted}
    try:
        for batch in earliest.through(_counted(walk_ids(repository, tags[newest], _MAX_COMMITS), progress)):
            left.difference_update(batch.ids)
            if not left:
                break
    except WalkError as error:
        notes.append(f"mainline: {error}")
    for commit, release in earliest.by_commit.items():
        source = f"GIT {name} v{release} ({tags[release][:12]})"
        yield Claim(wanted[commit], State.PRESENT_FROM, str(release), source, branch=MAINLINE, id=commit)
