"""Opens the git repository of a directory. A survey of a clone needs no more than this of what a tree needs."""

from __future__ import annotations

from pathlib import Path

import pygit2

from tailcall_audit.analyzer.kernelfiles.git_directory import GitDirectoryError, check_git_directories
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.model import AuditError

__all__ = ["TreeError", "open_repository"]


class TreeError(AuditError):
    """A path that is no kernel tree, or a revision that it does not have."""


def open_repository(path: Path, label: str | None = None) -> pygit2.Repository | None:
    """Opens the repository that a directory belongs to; None if there is none. Raises TreeError, which begins with
    `label` (the path). The owner does not matter, because nothing of the repository is run.
    """

    # libgit2 refuses a repository of another user as git does since CVE-2022-24765, where the danger is running its hooks.
    def broken(words: str) -> TreeError:
        return TreeError(
            f"{label or path}: its git repository cannot be opened: {words}; check it with `git -C {path} fsck`"
        )

    try:
        check_git_directories(path)
    except GitDirectoryError as error:
        raise broken(str(error)) from error
    with pygit2_errors(broken):
        pygit2.option(pygit2.enums.Option.SET_OWNER_VALIDATION, 0)
        found = pygit2.discover_repository(str(path))
        return None if found is None else pygit2.Repository(found)
