"""Git directories with what would keep libgit2 or git waiting for ever, and those that only look odd."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tailcall_audit.analyzer.kernelfiles.git_directory import GitDirectoryError, check_git_directories
from tailcall_audit.analyzer.pipeline import audit
from tests.repositories import stable_branch

PLACES = (
    "HEAD",
    "config",
    "packed-refs",
    "shallow",
    "info/grafts",
    "objects/info/alternates",
    "commondir",
    "refs/tags/v6.1",
    "objects/pack/pack-1.idx",
    "objects/12/3456",
)


@pytest.mark.parametrize("place", PLACES)
def test_a_pipe_in_a_git_directory_costs_the_history_alone(tmp_path: Path, place: str) -> None:
    history = stable_branch(tmp_path / "linux")
    history.checkout()
    pipe = tmp_path / "linux/.git" / place
    pipe.parent.mkdir(parents=True, exist_ok=True)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    (target,) = audit(trees=[str(tmp_path / "linux")]).targets
    assert target.identity["release"] == "6.1.170"
    assert any(f"{pipe} is a pipe or a device" in note for note in target.notes)


def test_a_link_to_a_device_is_a_device(tmp_path: Path) -> None:
    history = stable_branch(tmp_path / "linux.git", bare=True)
    (history.path / "shallow").symlink_to("/dev/zero")
    with pytest.raises(GitDirectoryError, match="shallow is a pipe or a device"):
        check_git_directories(history.path)


def test_what_a_configuration_includes_is_looked_at(tmp_path: Path) -> None:
    history = stable_branch(tmp_path / "linux.git", bare=True)
    config = history.path / "config"
    plain = config.read_text()
    config.write_text(plain + "[include]\n\tpath = more\n")
    check_git_directories(history.path)
    (history.path / "more").write_text('[includeIf "gitdir:/"] path = "/dev/zero"\n')
    with pytest.raises(GitDirectoryError, match="/dev/zero is a pipe or a device"):
        check_git_directories(history.path)
    (history.path / "more").write_text("[include]\n\tpath = config\n")
    check_git_directories(history.path)


def test_what_a_worktree_and_a_borrowing_repository_lead_to_is_looked_at(tmp_path: Path) -> None:
    main = stable_branch(tmp_path / "main.git", bare=True)
    worktree = main.path / "worktrees/x"
    worktree.mkdir(parents=True)
    (worktree / "commondir").write_text("../..\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/.git").write_text(f"gitdir: {worktree}\n")
    check_git_directories(tmp_path / "tree")
    os.mkfifo(main.path / "packed-refs")
    with pytest.raises(GitDirectoryError, match="packed-refs is a pipe"):
        check_git_directories(tmp_path / "tree")
    borrower = stable_branch(tmp_path / "borrower.git", bare=True)
    (borrower.path / "objects/info").mkdir(exist_ok=True)
    (borrower.path / "objects/info/alternates").write_text("../../objects\n")
    (tmp_path / "objects/pack").mkdir(parents=True)
    check_git_directories(borrower.path)
    os.mkfifo(tmp_path / "objects/pack/x.idx")
    with pytest.raises(GitDirectoryError, match=r"x\.idx is a pipe"):
        check_git_directories(borrower.path)


def test_a_repository_above_is_looked_at_too(tmp_path: Path) -> None:
    history = stable_branch(tmp_path / "above")
    (tmp_path / "above/below").mkdir()
    check_git_directories(tmp_path / "above/below")
    os.mkfifo(history.path / ".git/packed-refs")
    with pytest.raises(GitDirectoryError, match="packed-refs is a pipe"):
        check_git_directories(tmp_path / "above/below")


def test_the_socket_of_gits_own_watcher_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = stable_branch(tmp_path / "linux.git", bare=True)
    monkeypatch.chdir(history.path)  # the path of a socket has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as watcher:
        watcher.bind("fsmonitor--daemon.ipc")
        check_git_directories(history.path)
        os.mkfifo("another.ipc")
        with pytest.raises(GitDirectoryError, match=r"another\.ipc is a pipe"):
            check_git_directories(history.path)


def test_links_in_circles_end(tmp_path: Path) -> None:
    history = stable_branch(tmp_path / "linux.git", bare=True)
    (history.path / "refs/loop").symlink_to("..")
    (history.path / "objects/info").mkdir(exist_ok=True)
    (history.path / "objects/info/alternates").write_text(".\n../objects\n")
    check_git_directories(history.path)
    # What lies beside the circle is still looked at.
    os.mkfifo(history.path / "refs/zz")
    with pytest.raises(GitDirectoryError, match="refs/zz is a pipe"):
        check_git_directories(history.path)
