"""The places that lend commits: other repositories, and refs of the audited one.

They are only read, and as data: no name is resolved by git's rules for revisions, and nothing is fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pygit2

from tailcall_audit.analyzer.kernelfiles.git_walk import shallow_commits
from tailcall_audit.analyzer.kernelfiles.loose_objects import BrokenObjectError, LooseObjects, common_directory
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import Kind, expanded, kind_of
from tailcall_audit.analyzer.subjects.git_repository import open_repository

__all__ = ["Lender", "lenders"]

_MAX_REFS = 400
_BRANCHES = ("refs/heads/", "refs/remotes/")
_ID = re.compile(r"[0-9a-f]{40}")


class Lender(NamedTuple):
    """A place that lends commits: its folder of objects, the branches to look in by name, and where its clone was cut.

    `place` is its path, and None for the audited repository itself.
    """

    objects: Path
    refs: Mapping[str, str]
    cut: frozenset[str]
    place: str | None = None


def _target(repository: pygit2.Repository, name: str) -> str | None:
    """Returns the commit that a ref names; None if it names none."""
    with pygit2_errors(lambda words: AuditError(f"{repository.path}: {name} cannot be read: {words}")):
        found = repository.references.get(name)
        if found is None:
            return None
        target = str(found.resolve().target)
        LooseObjects(repository).check(target)
        item = repository.get(target)
        for _ in range(5):
            if not isinstance(item, pygit2.Tag):
                break
            LooseObjects(repository).check(str(item.target))
            item = repository.get(item.target)
    return str(item.id) if isinstance(item, pygit2.Commit) else None


def _branches(repository: pygit2.Repository) -> dict[str, str]:
    with pygit2_errors(lambda words: AuditError(f"{repository.path}: its refs cannot be read: {words}")):
        names = [name for name in repository.references if name.startswith(_BRANCHES)][:_MAX_REFS]
    found = {}
    for name in names:
        try:
            target = _target(repository, name)
        except (AuditError, BrokenObjectError):
            continue  # one branch that is broken costs the others nothing
        if target is not None:
            found[name.split("/", 2)[2]] = target
    return found


def _ref(repository: pygit2.Repository, name: str) -> str | None:
    """Returns the commit of a branch, remote-tracking branch, tag or whole id of the audited repository."""
    if _ID.fullmatch(name):
        return name
    for prefix in ("", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/"):
        whole = f"{prefix}{name}"
        if whole.startswith("refs/") and pygit2.reference_is_valid_name(whole):
            target = _target(repository, whole)
            if target is not None:
                return target
    return None


def _own_branches(repository: pygit2.Repository, branch: str) -> dict[str, str]:
    """Returns the refs of the audited repository that have the name of the stable branch that the tree is of."""
    wanted = f"linux-{branch}.y"
    return {name: commit for name, commit in _branches(repository).items() if name.rpartition("/")[2] == wanted}


def lenders(given: Sequence[str], audited: pygit2.Repository, branch: str = "") -> list[Lender]:
    """Returns the places that `--upstream` names: paths of repositories, and refs of the audited one. Raises
    AuditError.

    The audited repository's own stable branch by the usual name (`branch` is 6.1: linux-6.1.y) needs not be named.
    """
    found = []
    own = common_directory(audited) / "objects"
    for name in given:
        path = expanded(name)
        if kind_of(path) is Kind.FOLDER and (os.sep in name or (target := _ref_or_none(audited, name)) is None):
            repository = open_repository(path, f"--upstream {path}")
            if repository is None:
                raise AuditError(
                    f"--upstream {name}: no git repository; name a clone of the kernel, or a ref of the audited tree"
                )
            objects, cut = common_directory(repository) / "objects", shallow_commits(repository)
            found.append(Lender(objects, _branches(repository), cut, os.path.realpath(path)))
            continue
        target = _ref_or_none(audited, name)
        if target is None:
            raise AuditError(
                f"--upstream {name}: neither a folder nor a branch of the audited repository;"
                f" its branches are listed by `git branch -a`"
            )
        found.append(Lender(own, {name: target}, frozenset()))
    found.append(Lender(own, _own_branches(audited, branch), frozenset()))
    return found


def _ref_or_none(repository: pygit2.Repository, name: str) -> str | None:
    try:
        return _ref(repository, name)
    except BrokenObjectError as error:
        raise AuditError(f"--upstream {name}: {error}") from error
