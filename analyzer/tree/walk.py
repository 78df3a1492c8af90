"""Walking a history once: by the git binary where there is one, else by libgit2.

git is the faster: libgit2 up to 1.9.7 does not use a commit-graph with generation data version 2, which git writes by
default. It is called as plumbing in a clean environment, so that nothing in the repository's configuration is run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pygit2

__all__ = ["Record", "WalkError", "first_parent_subjects", "git_environment", "shallow_commits", "walk"]

_CHUNK = 1 << 18


class WalkError(Exception):
    """The walk broke off: objects are missing or broken. What was seen until then is true, and is not everything."""


@dataclass(frozen=True, slots=True)
class Record:
    """One commit of a walk. A boundary is not part of the range: it is the parent of one that is."""

    id: str
    parents: tuple[str, ...]
    message: bytes
    boundary: bool = False


def git_environment() -> dict[str, str]:
    """An environment in which git reads no configuration but the repository's own, fetches nothing and asks nobody."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
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


def shallow_commits(repository: pygit2.Repository) -> frozenset[str]:
    """The commits at which a shallow clone was cut: they have parents, and those are not here."""
    common = Path(repository.path)
    pointer = common / "commondir"
    if pointer.is_file():
        common = (common / pointer.read_text(encoding="utf-8", errors="replace").strip()).resolve()
    try:
        return frozenset((common / "shallow").read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return frozenset()


def _git_command(repository: pygit2.Repository, *arguments: str) -> list[str] | None:
    git = shutil.which("git")
    if git is None:
        return None
    safe = [
        "-c",
        "safe.directory=*",
        "-c",
        "i18n.logOutputEncoding=UTF-8",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "log.showSignature=false",
    ]
    return [git, "--no-pager", f"--git-dir={repository.path}", *safe, *arguments]


def _fields(command: list[str]) -> Iterator[bytes]:
    """Run git and yield the NUL-separated fields that it prints; raises WalkError when it fails."""
    with (
        tempfile.TemporaryFile() as complaints,  # a pipe that nobody reads until the end could fill and stop git
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, env=git_environment(), cwd="/"
        ) as process,
    ):
        assert process.stdout is not None
        rest = b""
        finished = False
        try:
            while chunk := process.stdout.read(_CHUNK):
                *whole, rest = (rest + chunk).split(b"\0")
                yield from whole
            yield rest
            finished = True
        finally:
            if not finished:
                process.kill()
        if process.wait() != 0:
            complaints.seek(0)
            complaint = complaints.read(4096).decode("utf-8", "replace").strip()
            raise WalkError(f"git: {complaint.splitlines()[0] if complaint else f'exit status {process.returncode}'}")


def _walk_by_git(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Record] | None:
    # %B with NUL around it: a message cannot hold one, git cuts it there. The line "commit [-]ID" comes before each record.
    # Without a base an order by topology would make git read the whole history before it prints the first commit.
    bounds = [head] if base is None else ["--topo-order", "--boundary", head, f"^{base}"]
    command = _git_command(repository, "rev-list", f"--max-count={limit}", "--format=%x00%P%x00%B%x00", *bounds, "--")
    return None if command is None else _records(command)


def _records(command: list[str]) -> Iterator[Record]:
    fields = _fields(command)
    for header in fields:
        name = header.strip().removeprefix(b"commit ")
        if not name:
            continue
        parents, message = next(fields, b""), next(fields, b"")
        boundary = name.startswith(b"-")
        yield Record(
            name.lstrip(b"-").decode("ascii", "replace"),
            tuple(parents.decode("ascii", "replace").split()),
            message,
            boundary,
        )


def _walk_by_libgit2(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Record]:
    cut = shallow_commits(repository)
    try:
        walker = repository.walk(head, pygit2.enums.SortMode.TOPOLOGICAL)
        if base is not None:
            walker.hide(base)
        for number, commit in enumerate(walker):
            if number >= limit:
                return
            name = str(commit.id)
            parents = () if name in cut else tuple(str(parent) for parent in commit.parent_ids)
            yield Record(name, parents, commit.raw_message)
            if base in parents:
                yield Record(base, (), b"", boundary=True)
    except (KeyError, ValueError, pygit2.GitError) as error:
        raise WalkError(f"libgit2: {error}") from error


def walk(repository: pygit2.Repository, head: str, base: str | None, limit: int) -> Iterator[Record]:
    """Walk ``base..head`` once, children before parents, at most `limit` commits; raises WalkError where it breaks off.

    `base` is reported as a boundary record if, and only if, it is an ancestor of `head`.
    """
    return _walk_by_git(repository, head, base, limit) or _walk_by_libgit2(repository, head, base, limit)


def first_parent_subjects(repository: pygit2.Repository, head: str, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield id and subject along the first parents, newest first; ends where the history is cut."""
    command = _git_command(
        repository, "rev-list", "--first-parent", f"--max-count={limit}", "--format=%x00%s%x00", head, "--"
    )
    if command is not None:
        fields = _fields(command)
        for header in fields:
            name = header.strip().removeprefix(b"commit ")
            if name:
                yield name.decode("ascii", "replace"), next(fields, b"")
        return
    current: str | None = head
    for _ in range(limit):
        if current is None:
            return
        try:
            commit = repository[current].peel(pygit2.Commit)
        except (KeyError, ValueError, pygit2.GitError):
            return
        yield current, commit.raw_message.lstrip().split(b"\n", 1)[0]
        parents = commit.parent_ids
        current = str(parents[0]) if parents else None
