"""Finding the kernel tree and its repository from what the user named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pygit2

from tailcall_audit.analyzer.kernelfiles.git_walk import shallow_commits
from tailcall_audit.analyzer.kernelfiles.makefile import is_kernel_makefile
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader, CheckoutReader, DiskReader, FileReader, ReadState
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.model import AuditError
from tailcall_audit.analyzer.paths import Kind, expanded, kind_of

__all__ = ["KernelTree", "TreeError", "open_tree"]


class TreeError(AuditError):
    """A path that is no kernel tree, or a revision that it does not have."""


@dataclass(frozen=True)
class KernelTree:
    """An opened tree.

    `root` is the kernel's top directory, or the repository of a bare one. `files` reads what is audited: the files on disk,
    or those of `commit` when a revision was named or there are none on disk. `commit` is the head of the audited history;
    None for sources without git.
    """

    root: Path
    files: FileReader
    repository: pygit2.Repository | None
    commit: pygit2.Commit | None
    on_disk: bool
    rev: str | None
    notes: tuple[str, ...]


def _is_kernel_root(path: Path) -> bool:
    makefile = DiskReader(path).read("Makefile")
    return makefile.state is ReadState.READ and is_kernel_makefile(makefile.data)


def _kernel_root(path: Path) -> Path | None:
    """The nearest directory at or above `path` that is a kernel's top directory."""
    return next((place for place in (path, *path.parents) if _is_kernel_root(place)), None)


def _open_repository(path: Path) -> pygit2.Repository | None:
    """Open the repository that a directory belongs to, whoever owns it: nothing of it is run, so its owner does not matter."""

    # libgit2 refuses a repository of another user as git does since CVE-2022-24765, where the danger is running its hooks.
    def broken(words: str) -> TreeError:
        return TreeError(f"{path}: its git repository cannot be opened: {words}; check it with `git -C {path} fsck`")

    with pygit2_errors(broken):
        pygit2.option(pygit2.enums.Option.SET_OWNER_VALIDATION, 0)
        found = pygit2.discover_repository(str(path))
        return None if found is None else pygit2.Repository(found)


def _resolve(repository: pygit2.Repository, rev: str | None, path: Path) -> pygit2.Commit | None:
    name = "HEAD" if rev is None else rev
    if name.startswith("-") or not name:
        raise TreeError(f"{path}: {name!r} is no revision")

    def missing(words: str) -> TreeError:
        hint = "list the tags with `git tag -l 'v6.1*'`"
        if shallow_commits(repository):
            hint = "it is a shallow clone: fetch it first (`git fetch --unshallow --tags`)"
        return TreeError(f"{path}: no commit {name!r} in {repository.path}: {words}; {hint}")

    with pygit2_errors(missing):
        if rev is None and repository.head_is_unborn:
            return None
        found = repository.revparse_single(name).peel(pygit2.Commit)
    assert isinstance(found, pygit2.Commit)
    return found


def open_tree(path_text: str, rev: str | None) -> KernelTree:
    """Open the kernel tree at, above or (bare repository) in a path; raises TreeError when there is none."""
    given = expanded(path_text)
    if kind_of(given) is Kind.MISSING:
        raise TreeError(f"{given}: no such file or directory")
    path = Path(os.path.realpath(given))
    if not path.is_dir():
        path = path.parent
    root = _kernel_root(path)
    notes: list[str] = []
    try:
        repository = _open_repository(root or path)
    except TreeError as error:
        if root is None or rev is not None:
            raise
        # The files are there: they are judged, and what the history would have said stays open.
        notes.append(str(error))
        repository = None
    if root is not None and repository is not None:
        workdir = repository.workdir
        if workdir is None or Path(os.path.realpath(workdir)) != root:
            notes.append(
                f"{root} lies inside the repository {repository.path}, which is not the kernel's own: its history is not used"
            )
            repository = None
    if repository is None and root is None:
        raise TreeError(
            f"{given}: not a kernel tree: no Makefile with VERSION, PATCHLEVEL and KERNELVERSION here or above; "
            "give the top directory of a kernel source, or a clone of one"
        )
    if repository is None and rev is not None:
        raise TreeError(f"{given}: --rev needs a git repository, and {root} has none of its own")
    commit = None if repository is None else _resolve(repository, rev, given)
    if repository is None or commit is None:
        if root is None:
            raise TreeError(f"{given}: a git repository without a commit")
        what = "sources without a git history" if repository is None else "a git repository without a commit"
        notes.append(f"{what}: only the code and the version speak")
        return KernelTree(root, DiskReader(root), None, None, True, None, tuple(notes))
    if rev is None and root is not None:
        return KernelTree(root, CheckoutReader(root, repository, commit), repository, commit, True, None, ())
    reader = BlobReader(repository, commit)
    makefile = reader.read("Makefile")
    if makefile.state is ReadState.MISSING or (
        makefile.state is ReadState.READ and not is_kernel_makefile(makefile.data)
    ):
        raise TreeError(
            f"{given}: {'its HEAD' if rev is None else rev} is not a kernel tree: no Makefile with VERSION, PATCHLEVEL and KERNELVERSION"
        )
    if rev is None and not repository.is_bare:
        notes.append("no files are checked out: the commit that HEAD names is audited")
    return KernelTree(
        root or Path(repository.workdir or repository.path), reader, repository, commit, False, rev, tuple(notes)
    )
