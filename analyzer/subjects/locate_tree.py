"""Finding the kernel tree and its repository from what the user named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pygit2

from tailcall_audit.analyzer.errors import parameter
from tailcall_audit.analyzer.kernelfiles.git_walk import shallow_commits
from tailcall_audit.analyzer.kernelfiles.loose_objects import BrokenObjectError, LooseObjects
from tailcall_audit.analyzer.kernelfiles.makefile import is_kernel_makefile, is_kernel_tree
from tailcall_audit.analyzer.kernelfiles.tree_files import BlobReader, CheckoutReader, DiskReader, FileReader, ReadState
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.paths import Kind, expanded, is_file, kind_of
from tailcall_audit.analyzer.subjects.git_repository import TreeError, open_repository
from tailcall_audit.probes.reading import open_file

__all__ = ["KernelTree", "NoKernelTreeError", "built_kernel", "open_tree"]


class NoKernelTreeError(TreeError):
    """A folder or a commit without a kernel at its top. `files` reads it: it may hold patches for a kernel."""

    def __init__(self, message: str, files: FileReader) -> None:
        super().__init__(message)
        self.files = files


@dataclass(frozen=True)
class KernelTree:
    """An opened tree.

    `root` is the kernel's top directory, or the repository of a bare one. `files` reads what is audited: the files on
    disk, or those of `commit` when a revision was named or there are none on disk. `commit` is the head of the audited
    history; None for sources without git.
    """

    root: Path
    files: FileReader
    repository: pygit2.Repository | None
    commit: pygit2.Commit | None
    on_disk: bool
    rev: str | None
    notes: tuple[str, ...]


_ARCHIVES = (
    (0, b"\x1f\x8b"),
    (0, b"\xfd7zXZ\x00"),
    (0, b"BZh"),
    (0, b"\x28\xb5\x2f\xfd"),
    (0, b"PK\x03\x04"),
    (257, b"ustar"),
)
_MAX_FOLDERS = 500


def _is_kernel_root(path: Path) -> bool:
    return is_kernel_tree(DiskReader(path))


def _is_archive(path: Path) -> bool:
    try:
        with open_file(path) as file:
            head = file.read(512)
    except OSError:
        return False
    return any(head[place : place + len(magic)] == magic for place, magic in _ARCHIVES)


def _kernels_below(reader: FileReader) -> list[str]:
    """Returns the folders of a folder that are kernels."""
    found = []
    for name in (reader.names("") or ())[:_MAX_FOLDERS]:
        makefile = reader.read(f"{name}/Makefile")
        if makefile.state is ReadState.READ and is_kernel_makefile(makefile.data):
            found.append(name)
    return found


def _no_tree(given: str, reader: FileReader, what: str, below: str) -> TreeError:
    """Returns the error for a path that is no kernel tree. It names what to give instead if that can be seen. In
    `below`, {} stands for a folder.
    """
    kernels = _kernels_below(reader)
    if kernels:
        named = ", ".join(kernels[:5])
        example = below.format(kernels[0])
        return TreeError(f"{what} is not a kernel tree, but these folders in it are: {named}; name one: {example}")
    names = reader.names("") or ()
    spec = next((name for name in names if name.endswith(".spec")), None)
    if reader.read("series.conf").state is ReadState.READ:
        why = (
            "has patches, no sources, and no rpm/config.sh that names their base (SRCVERSION); give the patched sources"
        )
    elif spec is not None:
        why = f"has no sources, and {spec} is no kernel's or does not show its version; give the patched sources (rpmbuild -bp)"
    elif reader.read("debian/changelog").state is ReadState.READ:
        why = (
            "has no sources, and its changelog cannot be read as a kernel's; try"
            f" {parameter('changelog', f'{given}/debian/changelog')}"
        )
    else:
        why = (
            "is not a kernel tree: no Makefile with VERSION, PATCHLEVEL and KERNELVERSION of a kernel here or above; "
            "give the top directory of a kernel source, or a clone of one"
        )
    return NoKernelTreeError(f"{what} {why}", reader)


def _no_kernel_in_commit(given: str, reader: FileReader, rev: str | None) -> TreeError:
    revision, folder = _parted(rev or "HEAD")
    example = f"{parameter('trees', given)} {parameter('rev', revision)}:{folder and folder + '/'}{{}}"
    return _no_tree(given, reader, f"{given}: {'its HEAD' if rev is None else rev}", example)


def _kernel_root(path: Path) -> Path | None:
    """Returns the nearest directory at or above `path` that is a kernel's top directory."""
    return next((place for place in (path, *path.parents) if _is_kernel_root(place)), None)


def _check_objects(repository: pygit2.Repository, rev: str | None, path: Path) -> None:
    """Raises TreeError if libgit2 would read a loose object that is cut off. It is not known over which objects a
    revision leads.
    """
    loose = LooseObjects(repository)
    try:
        if rev is None:
            loose.check(str(repository.head.target))
        else:
            loose.check_all()
    except BrokenObjectError as error:
        raise TreeError(f"{path}: {repository.path}: {error}") from error


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
        _check_objects(repository, rev, path)
        found = repository.revparse_single(name).peel(pygit2.Commit)
    assert isinstance(found, pygit2.Commit)
    return found


def _parted(rev: str) -> tuple[str, str]:
    """Returns the commit and the folder of ``HEAD:linux-6.1``. A search (``:/text``) and a range are not split."""
    name, colon, folder = rev.partition(":")
    return (name, folder.strip("/")) if colon and name and folder else (rev, "")


def built_kernel(path_text: str) -> Path | None:
    """Returns the `vmlinux` that a build has left in the top directory of the kernel tree at or above a path; None if
    there is none.

    It may be older or newer than the files around it: it is a kernel of its own, and no evidence for the tree.
    """
    root = _kernel_root(Path(os.path.realpath(expanded(path_text))))
    built = None if root is None else root / "vmlinux"
    return built if built is not None and not built.is_symlink() and is_file(built) else None


def open_tree(path_text: str, rev: str | None) -> KernelTree:
    """Opens the kernel tree at, above or (bare repository) in a path; raises TreeError when there is none."""
    given = expanded(path_text)
    path = _folder(given)
    root = _kernel_root(path)
    notes: list[str] = []
    repository = _own_repository(root, path, rev, notes)
    if repository is None and root is None:
        raise _no_tree(str(given), DiskReader(path), str(given), f"{parameter('trees', str(given))}/{{}}")
    if repository is None and rev is not None:
        raise TreeError(f"{given}: {parameter('rev')} needs a git repository, and {root} has none of its own")
    revision, folder = (rev, "") if rev is None else _parted(rev)
    is_needed = root is None or rev is not None
    commit = None if repository is None else _commit_of(repository, revision, given, is_needed, notes)
    if repository is None or commit is None:
        return _without_history(given, root, repository, notes)
    if rev is None and root is not None:
        return KernelTree(root, CheckoutReader(root, repository, commit), repository, commit, True, None, ())
    reader = BlobReader(repository, commit, folder)
    if reader.read("Makefile").state is not ReadState.UNREADABLE and not is_kernel_tree(reader):
        disk = DiskReader(path)
        on_disk = rev is None and not repository.is_bare and set(disk.names("") or ()) > {".git"}
        raise _no_kernel_in_commit(str(given), disk if on_disk else reader, rev)
    return _of_commit(reader, repository, commit, root, rev, folder)


def _commit_of(
    repository: pygit2.Repository, revision: str | None, given: Path, is_needed: bool, notes: list[str]
) -> pygit2.Commit | None:
    """Returns the commit of a revision, None if there is none. One that cannot be read is a note, or a TreeError if it
    is needed.
    """
    try:
        return _resolve(repository, revision, given)
    except TreeError as error:
        if is_needed:
            raise
        notes.append(str(error))
        return None


def _without_history(
    given: Path, root: Path | None, repository: pygit2.Repository | None, notes: list[str]
) -> KernelTree:
    """Returns the tree of the files on disk; raises TreeError if there are none."""
    if root is None:
        raise TreeError(f"{given}: a git repository without a commit")
    # A repository whose commit cannot be read has a note of its own.
    what = "a git repository without a commit" if repository is not None and not notes else "no git history"
    return KernelTree(
        root, DiskReader(root), None, None, True, None, (*notes, f"{what}: judged by the code and the version")
    )


def _folder(given: Path) -> Path:
    """Returns the folder that a path is or lies in; raises TreeError if there is none, or if the path is an archive."""
    if kind_of(given) is Kind.MISSING:
        raise TreeError(f"{given}: no such file or directory")
    path = Path(os.path.realpath(given))
    if kind_of(path) is Kind.FOLDER:
        return path
    if _is_archive(path):
        raise TreeError(f"{given}: an archive; unpack it and give the folder")
    return path.parent


def _own_repository(root: Path | None, path: Path, rev: str | None, notes: list[str]) -> pygit2.Repository | None:
    """Returns the repository whose history is that of the kernel at `root`, or in which a kernel may be; None, with a
    note, if it is the repository of something else.
    """
    try:
        repository = open_repository(root or path)
    except TreeError as error:
        if root is None or rev is not None:
            raise
        # The files are there: they are judged, and what the history would have said stays open.
        notes.append(str(error))
        return None
    if root is None or repository is None:
        return repository
    if repository.workdir is not None and Path(os.path.realpath(repository.workdir)) == root:
        return repository
    notes.append(
        f"{root} lies inside the repository {repository.path}, which is not the kernel's own: its history is not used"
    )
    return None


def _of_commit(
    reader: BlobReader,
    repository: pygit2.Repository,
    commit: pygit2.Commit,
    root: Path | None,
    rev: str | None,
    folder: str,
) -> KernelTree:
    """Returns the tree of a commit, or of a folder in it, whose history is not the kernel's."""
    if folder:
        note = f"{folder} of the repository {repository.path} is audited: its history is not the kernel's own and is not used"
        return KernelTree(root or Path(repository.path), reader, None, None, False, rev, (note,))
    lacks_files = rev is None and not repository.is_bare
    notes = ("no files are checked out: the commit that HEAD names is audited",) if lacks_files else ()
    place = root or Path(repository.workdir or repository.path)
    return KernelTree(place, reader, repository, commit, False, rev, notes)
