"""What a command does to the system, seen by strace: programs started, sockets, and files written, created, renamed or
removed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["Effects", "needs_strace", "parse", "traced"]

_CALLS = "%file,%network,%process,ftruncate,fchmod,fchown"
_LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?|0x[0-9a-f]+)")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<rest>.*)")
_PATH = re.compile(r'(?:(?:AT_FDCWD|-?\d+)<(?P<folder>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"(?P<cut>\.\.\.)?')
_OPENED = frozenset(("open", "openat", "openat2"))
_WRITES = re.compile(r"\bO_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)\b")
_CHANGES = frozenset(
    (
        "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "link", "linkat", "symlink", "symlinkat",
        "mknod", "mknodat", "chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "truncate", "utime", "utimes", "utimensat", "futimesat",
        "setxattr", "lsetxattr", "removexattr", "lremovexattr", "mount", "umount", "umount2", "pivot_root", "chroot", "swapon", "swapoff", "acct",
        "quotactl", "move_mount", "open_tree",
    )
)  # fmt: skip
_LIMITED = frozenset(("symlink", "symlinkat"))
_SOCKET_CALLS = frozenset(("connect", "bind", "sendto", "sendmsg", "sendmmsg"))


class Effects(NamedTuple):
    """What was done or tried: the programs by their paths, each call on a socket as strace shows it, and paths changed."""

    programs: tuple[str, ...]
    sockets: tuple[str, ...]
    changed: tuple[str, ...]


def needs_strace() -> str:
    """Returns the path of strace; skips where it is missing or may not trace."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace on this machine: install the package strace")
    if subprocess.run([strace, "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace may not trace here (ptrace(2) is refused)")
    return strace


def _whole(lines: Sequence[str]) -> Iterator[str]:
    """The calls, of which those that another process interrupted are put together again."""
    begun: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        pid, rest = found["pid"], found["rest"]
        if rest.endswith(_UNFINISHED):
            begun[pid] = rest.removesuffix(_UNFINISHED)
            continue
        resumed = _RESUMED.match(rest)
        yield begun.pop(pid, "") + resumed["rest"] if resumed else rest
    yield from (f"{rest}) = ?" for rest in begun.values())


def _paths(arguments: str, start: str) -> Iterator[str]:
    for found in _PATH.finditer(arguments):
        path = found["path"].encode("latin-1", "replace").decode("unicode_escape")
        yield os.path.normpath(os.path.join(found["folder"] or start, path))


def parse(text: str, start: str = "/") -> Effects:
    """Reads the output of ``strace -f -y``; a path that is seen from no folder is seen from `start`."""
    programs: list[str] = []
    sockets: list[str] = []
    changed: list[str] = []
    for line in _whole(text.split("\n")):
        call = _CALL.match(line)
        if call is None:
            continue
        name, arguments = call["name"], call["arguments"]
        if name in ("execve", "execveat"):
            programs += list(_paths(arguments, start))[:1]
        elif name == "socket" or name in _SOCKET_CALLS:
            sockets.append(line)
        elif name in _OPENED:
            if _WRITES.search(arguments):
                changed += list(_paths(arguments, start))[:1]
        elif name in _CHANGES:
            # The first of a symbolic link's two is what it says, not a file.
            changed += list(_paths(arguments, start))[1 if name in _LIMITED else 0 :]
        elif name in ("ftruncate", "fchmod", "fchown") and "</" in arguments:
            changed.append(arguments.split("<", 1)[1].split(">", 1)[0])
    return Effects(tuple(programs), tuple(sockets), tuple(changed))


def traced(command: Sequence[str], folder: Path, environment: Mapping[str, str], cwd: Path) -> tuple[Effects, int, str]:
    """Runs a command under strace and returns what it did, its exit code and its output; `folder` keeps the log."""
    log = folder / "strace.log"
    options = ["-f", "-qq", "-y", "-s", "4096", "-e", f"trace={_CALLS}", "-o", str(log)]
    done = subprocess.run(
        [needs_strace(), *options, *command],
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=900,
        check=False,
    )
    return parse(log.read_text(encoding="latin-1"), str(cwd)), done.returncode, done.stdout + done.stderr
