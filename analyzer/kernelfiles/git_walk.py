"""Walks a history once: by the git binary if there is one, else by libgit2.

git is faster: libgit2 up to 1.9.7 does not use a commit-graph with generation data version 2, which git writes by
default. Only plumbing commands run, in a clean environment, so that no program in the repository's configuration is
run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pygit2

from tailcall_audit.analyzer.kernelfiles.loose_objects import BrokenObjectError, LooseObjects, common_directory
from tailcall_audit.analyzer.libraries import pygit2_errors
from tailcall_audit.analyzer.paths import Kind, kind_of
from tailcall_audit.probes.processes import ProgramError, find_program, start
from tailcall_audit.probes.reading import read_file

if TYPE_CHECKING:
    from tailcall_audit.probes.processes import Process

__all__ = [
    "Record",
    "WalkError",
    "commits_of_paths",
    "first_parent_subjects",
    "shallow_commits",
    "walk",
    "walk_ids",
]

_CHUNK = 1 << 20
"""Bytes read at a time, and the size of the pipe: with the usual 64 kB git waits for whatever else this process does.
"""
_MAX_SHALLOW = 256 << 20
"""As large a file as `check_git_directories` lets through: if it were not read, a shallow clone would look like a whole
one.
"""
_MAX_FIELD = 16 << 20
"""The longest messages in the kernel's history, of merges, have some 100 kB."""
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PAGER": "cat",
}
"""With these git reads no configuration but the repository's own, fetches nothing and asks no user."""
_SAFE = (
    "safe.directory=*",
    "i18n.logOutputEncoding=UTF-8",
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    f"core.attributesFile={os.devnull}",
    "core.pager=cat",
    "core.askPass=",
    "core.sshCommand=false",
    "core.gitProxy=",
    "credential.helper=",
    "diff.external=",
    "protocol.allow=never",
    "log.showSignature=false",
    # Anyone can write a commit-graph, which is an index: the parents are read from the commits themselves.
    "core.commitGraph=false",
)
"""Settings that overrule those of the repository's configuration that name a program."""


class WalkError(Exception):
    """The walk broke off: objects are missing or broken. The records so far are true, and are not all."""


class Record(NamedTuple):
    """One commit of a walk, as bytes: its id, those of its parents with blanks between them, its message.

    A boundary is not part of the range: it is the parent of one that is. (A named tuple: tens of thousands are made.)
    """

    id: bytes
    parents: bytes
    message: bytes
    boundary: bool = False


def shallow_commits(repository: pygit2.Repository) -> frozenset[str]:
    """Returns the commits at which a shallow clone was cut: their parents are not in it."""
    shallow = common_directory(repository) / "shallow"
    try:
        return frozenset(read_file(shallow, _MAX_SHALLOW).decode("ascii", "replace").split())
    except (OSError, ValueError):
        return frozenset()


def _check_for_libgit2(repository: pygit2.Repository) -> None:
    """Raises WalkError if libgit2 would believe or read what it should not: grafts, loose objects that are cut off."""
    grafts = common_directory(repository) / "info/grafts"
    if kind_of(grafts) is not Kind.MISSING:
        raise WalkError(f"{grafts} rewrites the history for libgit2: remove it, or install git")
    try:
        LooseObjects(repository).check_all()
    except BrokenObjectError as error:
        raise WalkError(str(error)) from error


def _git_command(repository: pygit2.Repository, *arguments: str) -> list[str] | None:
    git = find_program("git")
    if git is None:
        return None
    settings = [word for setting in _SAFE for word in ("-c", setting)]
    return [git, "--no-pager", f"--git-dir={os.path.abspath(repository.path)}", *settings, *arguments]


def _widen(pipe: int) -> None:
    """Makes a pipe larger, if the system's limits for the user allow it."""
    resize = getattr(fcntl, "F_SETPIPE_SZ", None)
    if resize is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, resize, _CHUNK)


@contextlib.contextmanager
def _started(command: list[str], errors: int) -> Iterator[Process]:
    """Starts git; raises WalkError if it does not start."""
    try:
        with start(command, errors=errors, more=_ENVIRONMENT) as process:
            yield process
    except ProgramError as error:
        raise WalkError(str(error)) from error


def _fields(command: list[str]) -> Iterator[list[bytes]]:
    """Runs git and yields the NUL-separated fields that it prints, many at a time; raises WalkError if it fails."""
    with (
        tempfile.TemporaryFile() as complaints,  # a pipe that is not read until the end could fill and stop git
        _started(command, complaints.fileno()) as process,
    ):
        assert process.stdout is not None
        _widen(process.stdout.fileno())
        rest = b""
        while chunk := process.stdout.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\0")
            yield whole
            if len(rest) > _MAX_FIELD:
                raise WalkError(f"a commit message of more than {_MAX_FIELD >> 20} MiB")
        yield [rest]
        if process.wait() != 0:
            complaints.seek(0)
            lines = complaints.read(4096).decode("utf-8", "replace").splitlines()
            # git warns in several lines that the (empty) file of grafts is deprecated.
            said = [line for line in lines if line.strip() and not line.startswith("hint:")]
            raise WalkError(f"git: {said[0] if said else f'exit status {process.returncode}'}")


def _groups(command: list[str], size: int) -> Iterator[tuple[bytes, ...]]:
    """Yields the fields of a git command in groups; what is left at the end (git's last line break) is no group."""
    waiting: list[bytes] = []
    for fields in _fields(command):
        waiting += fields
        whole = len(waiting) // size * size
        yield from zip(*(waiting[start:whole:size] for start in range(size)), strict=True)
        waiting = waiting[whole:]


def _list_command(repository: pygit2.Repository, limit: int, *arguments: str) -> list[str] | None:
    # %B with NUL around it: a message cannot hold one, git cuts it there. The line "commit [-]ID" comes before each record.
    return _git_command(repository, "rev-list", f"--max-count={limit}", "--format=%x00%P%x00%B%x00", *arguments, "--")


def _walk_by_git(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Record] | None:
    command = _list_command(repository, limit, head)
    if command is None or base is None:
        return None if command is None else _records(command)
    return _walk_to_base(repository, command, base, limit)


def _walk_to_base(repository: pygit2.Repository, command: list[str], base: str, limit: int) -> Iterator[Record]:
    """Walks a stable branch as the chain that it is; from the first merge on git sorts what is not in the base.

    git prints a chain while it reads it. With a base to leave out, it reads the whole range before it prints the first
    commit.
    """
    count = 0
    with contextlib.closing(_records(command)) as chain:
        for record in chain:
            if b" " in record.parents:
                break
            count += 1
            yield record
            if record.parents == base.encode():
                yield Record(record.parents, b"", b"", boundary=True)
                return
        else:
            return
    below = _list_command(
        repository, limit - count, "--topo-order", "--boundary", record.id.decode("ascii", "replace"), f"^{base}"
    )
    assert below is not None  # git was found for the chain
    yield from _records(below)


def _records(command: list[str]) -> Generator[Record, None, None]:
    for header, parents, message in _groups(command, 3):
        name = header.strip()[len("commit ") :]
        if name[:1] == b"-":
            yield Record(name[1:], parents, message, True)
        else:
            yield Record(name, parents, message)


def _walk_by_libgit2(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Record]:
    _check_for_libgit2(repository)
    cut = shallow_commits(repository)
    with pygit2_errors(lambda words: WalkError(f"libgit2: {words}")):
        walker = repository.walk(head, pygit2.enums.SortMode.TOPOLOGICAL)
        if base is not None:
            walker.hide(base)
        for number, commit in enumerate(walker):
            if number >= limit:
                return
            name = str(commit.id)
            parents = [] if name in cut else [str(parent) for parent in commit.parent_ids]
            yield Record(name.encode(), " ".join(parents).encode(), commit.raw_message)
            if base is not None and base in parents:
                yield Record(base.encode(), b"", b"", boundary=True)


def walk(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Record]:
    """Walks ``base..head`` once, children before parents, at most `limit` commits; raises WalkError if it breaks off.

    `base` is reported as a boundary record if, and only if, it is an ancestor of `head`.
    """
    return _walk_by_git(repository, head, base, limit) or _walk_by_libgit2(repository, head, base, limit)


def walk_ids(repository: pygit2.Repository, head: str, limit: int) -> Iterator[Record]:
    """Walks all ancestors of `head` once, children before parents, without their messages; raises WalkError if it
    breaks off.
    """
    command = _git_command(
        repository, "rev-list", "--topo-order", f"--max-count={limit}", "--format=%x00%P%x00", head, "--"
    )
    if command is None:
        for record in _walk_by_libgit2(repository, head, None, limit):
            yield record._replace(message=b"")
        return
    for header, parents in _groups(command, 2):
        yield Record(header.strip()[len("commit ") :], parents, b"")


def first_parent_subjects(repository: pygit2.Repository, head: str, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yields id and subject along the first parents, newest first; ends where the history is cut."""
    command = _git_command(
        repository, "rev-list", "--first-parent", f"--max-count={limit}", "--format=%x00%s%x00", head, "--"
    )
    if command is not None:
        for header, subject in _groups(command, 2):
            yield header.strip()[len("commit ") :].decode("ascii", "replace"), subject
        return
    try:
        _check_for_libgit2(repository)
    except WalkError:
        return
    current: str | None = head
    for _ in range(limit):
        if current is None:
            return
        try:
            with pygit2_errors(WalkError):
                commit = repository[current].peel(pygit2.Commit)
        except WalkError:
            return
        yield current, commit.raw_message.lstrip().split(b"\n", 1)[0]
        parents = commit.parent_ids
        current = str(parents[0]) if parents else None


def commits_of_paths(
    repository: pygit2.Repository, head: str, base: str, paths: Sequence[str], limit: int
) -> Iterator[str]:
    """Yields the ids of the commits of ``base..head`` that change any of these paths, newest first, at most `limit`.

    Raises WalkError if the walk breaks off, and where there is no git binary: libgit2 has no such walk.
    """
    named = [f":(literal){path}" for path in paths]
    command = _git_command(
        repository, "rev-list", f"--max-count={limit}", "--no-merges", "--format=%x00", head, f"^{base}", "--", *named
    )
    if command is None:
        raise WalkError("git is not installed")
    for (header,) in _groups(command, 1):
        name = header.strip()
        if name.startswith(b"commit "):
            yield name[len(b"commit ") :].decode("ascii", "replace")
