"""Small git repositories with histories written for a purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pygit2
import pytest

MAKEFILE = """# SPDX-License-Identifier: GPL-2.0
VERSION = {0}
PATCHLEVEL = {1}
SUBLEVEL = {2}
EXTRAVERSION ={3}
NAME = Curry Ramen

KERNELVERSION = $(VERSION)$(if $(PATCHLEVEL),.$(PATCHLEVEL)$(if $(SUBLEVEL),.$(SUBLEVEL)))$(EXTRAVERSION)
"""

FIX_6 = "d6083f040d5d8f8d748462c77e90547097df936e"
FIX_6_SUBJECT = "bpf: Prevent tailcall infinite loop caused by freplace"
INTRODUCTION_6 = "1c123c567fb138ebd187480b7fc0610fcb0851f5"
INTRODUCTION_6_SUBJECT = "bpf: Resolve fext program type when checking map compatibility"
FIX_3 = "2b5dcb31a19a2e0acd869b12c9db9b2d696ef544"
FIX_3_SUBJECT = "bpf, x64: Fix tailcall infinite loop"


GIT_FILES = (
    "config",
    "HEAD",
    "packed-refs",
    "shallow",
    "info/grafts",
    "objects/info/alternates",
    "objects/info/commit-graph",
    "commondir",
    "refs/tags/v6.1",
)
"""Files of a repository that decide how it is read."""


def makefile(version: str) -> bytes:
    """A kernel's top-level Makefile of a version such as 6.1.170 or 6.13.0-rc3."""
    number, _, extra = version.partition("-")
    parts = [*number.split("."), "0", "0"][:3]
    return MAKEFILE.format(*parts, f" -{extra}" if extra else "").encode()


class History:
    """A repository that grows commit by commit; each has the files of the one before it, with changes."""

    def __init__(self, path: Path, version: str = "6.1", bare: bool = False) -> None:
        self.path = path
        self.repository = pygit2.init_repository(str(path), bare=bare, initial_head="master")
        self.files: dict[str, bytes] = {"Makefile": makefile(version)}
        self.time = 1_600_000_000

    def commit(
        self, message: str | bytes, changes: dict[str, bytes | None] | None = None, parents: list[str] | None = None
    ) -> str:
        """Add a commit to HEAD, or one with other parents; returns its id."""
        for name, data in (changes or {}).items():
            if data is None:
                self.files.pop(name, None)
            else:
                self.files[name] = data
        self.time += 60
        head = None if self.repository.head_is_unborn else str(self.repository.head.target)
        given = parents if parents is not None else [head] if head else []
        lines = [f"tree {self._tree()}".encode(), *(f"parent {parent}".encode() for parent in given)]
        who = f"A Developer <dev@example.org> {self.time} +0000".encode()
        raw = message if isinstance(message, bytes) else message.encode()
        data = b"\n".join([*lines, b"author " + who, b"committer " + who, b"", raw])
        name = str(self.repository.write(pygit2.enums.ObjectType.COMMIT, data))
        self.repository.references.create("refs/heads/master", name, force=True)
        return name

    def _tree(self) -> str:
        index = pygit2.Index()
        for path, data in self.files.items():
            index.add(pygit2.IndexEntry(path, self.repository.create_blob(data), pygit2.enums.FileMode.BLOB))
        return str(index.write_tree(self.repository))

    def tag(self, name: str) -> None:
        """Tag HEAD."""
        self.repository.references.create(f"refs/tags/{name}", self.repository.head.target)

    def release(self, version: str) -> str:
        """The commit of a release: its Makefile, its usual subject, its tag."""
        name = self.commit(f"Linux {version}\n", {"Makefile": makefile(version)})
        self.tag(f"v{version}")
        return name

    def checkout(self) -> None:
        """Put the files of HEAD on disk."""
        for path, data in self.files.items():
            place = self.path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def stable_branch(path: Path, version: str = "6.1.170", bare: bool = False) -> History:
    """A history with mainline 6.1 tagged and a first stable commit; the Makefile says `version`."""
    history = History(path, "6.0", bare)
    history.release("6.0")
    history.commit("mm: something that came in the merge window\n")
    history.release(".".join(version.split(".")[:2]))
    history.commit(f"Linux {version}-base\n", {"Makefile": makefile(version)})
    return history


def fixed_branch(path: Path) -> Path:
    """6.6.y through 6.6.158 in a bare repository, with the fix of pitfall 6 from 6.6.157 on."""
    history = History(path, "6.6", bare=True)
    history.release("6.6")
    for version, message in (
        ("6.6.156", "mm: a fix\n"),
        ("6.6.157", backport(FIX_6, FIX_6_SUBJECT)),
        ("6.6.158", "x\n"),
    ):
        history.commit(message)
        history.commit(f"Linux {version}\n", {"Makefile": makefile(version)})
        history.tag(f"v{version}")
    return history.path


def backport(upstream: str, subject: str, body: str = "") -> str:
    """A stable backport's message, in the form of the stable tree."""
    return f"{subject}\n\n[ Upstream commit {upstream} ]\n\n{body}Signed-off-by: Sasha Levin <sashal@kernel.org>\n"


def git(*arguments: str, cwd: Path | None = None) -> str:
    """Run git with no configuration but what is given; skips where there is no git."""
    if shutil.which("git") is None:
        pytest.skip("no git binary on this machine")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }
    return subprocess.run(
        ["git", *arguments], cwd=cwd, env=environment, check=True, capture_output=True, text=True
    ).stdout
