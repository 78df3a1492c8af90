"""Runs git's plumbing commands on a repository, and splits what they print.

Only plumbing commands run, in a clean environment, so that no program in the repository's configuration is run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pygit2

from tailcall_audit.probes.processes import ProgramError, find_program, start

if TYPE_CHECKING:
    from tailcall_audit.probes.processes import Process

__all__ = ["WalkError", "git_columns", "git_command", "git_groups"]

_CHUNK = 1 << 20
"""Bytes read at a time, and the size of the pipe: with the usual 64 kB, git has to wait for other work of this process.
"""
_PAUSE = 0.004
"""Seconds to wait until git has filled most of the pipe. It writes 4 kB at a time, and to be woken for each of them costs
a tenth of the time of both processes.
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
    "GIT_FLUSH": "0",  # without it git writes each commit separately
    "GIT_PAGER": "cat",
}
"""The environment of git: it reads no configuration but the repository's own, fetches nothing and asks no user."""
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
    """The walk broke off, because objects are missing or broken. The commits so far are correct, but not complete."""


def git_command(repository: pygit2.Repository, *arguments: str) -> list[str] | None:
    """Returns the command that runs git on a repository, with nothing in its configuration that could start a program;
    None if there is no git binary.
    """
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
            if len(chunk) < _CHUNK:
                time.sleep(_PAUSE)
            if len(rest) > _MAX_FIELD:
                raise WalkError(f"a commit message of more than {_MAX_FIELD >> 20} MiB")
        yield [rest]
        if process.wait() != 0:
            complaints.seek(0)
            lines = complaints.read(4096).decode("utf-8", "replace").splitlines()
            # git warns in several lines that the (empty) file of grafts is deprecated.
            said = [line for line in lines if line.strip() and not line.startswith("hint:")]
            raise WalkError(f"git: {said[0] if said else f'exit status {process.returncode}'}")


def git_columns(command: list[str], size: int) -> Iterator[tuple[list[bytes], ...]]:
    """Yields the fields of a git command as `size` columns of equal length, many rows at a time; what is left at the end
    (git's last line break) is no row. Raises WalkError if git fails, after the rows that it printed.
    """
    waiting: list[bytes] = []
    for fields in _fields(command):
        waiting += fields
        whole = len(waiting) // size * size
        if whole:
            yield tuple(waiting[start:whole:size] for start in range(size))
            waiting = waiting[whole:]


def git_groups(command: list[str], size: int) -> Iterator[tuple[bytes, ...]]:
    """Yields the rows of `git_columns` one by one."""
    for columns in git_columns(command, size):
        yield from zip(*columns, strict=True)
