"""Reads which commits the tags of a repository name: by the git binary, which is faster than libgit2 at it."""

from __future__ import annotations

import pygit2

from tailcall_audit.analyzer.kernelfiles.git_output import WalkError, git_command, git_groups

__all__ = ["tags_of_commits"]


def tags_of_commits(repository: pygit2.Repository, prefix: str) -> dict[str, str]:
    """Returns the commits of the tags whose names begin with a prefix, by the full name of the tag.

    A tag of a tag is left out. If git is missing or fails, the result is empty.
    """
    wanted = [f"%({star}{field})" for star in ("", "*") for field in ("objecttype", "objectname")]
    form = "%00".join(["%(refname)", *wanted, ""])
    command = git_command(repository, "for-each-ref", f"--format={form}", f"refs/tags/{prefix}*")
    found: dict[str, str] = {}
    try:
        for name, kind, own, peeled_kind, peeled in () if command is None else git_groups(command, 5):
            if b"commit" in (kind, peeled_kind):
                commit = own if kind == b"commit" else peeled
                found[name.strip().decode("utf-8", "surrogateescape")] = commit.decode("ascii", "replace")
    except WalkError:
        return {}
    return found
