"""What becomes of a file that is written: replaced whole where it is a regular one, else written to; nothing is left
behind on failure.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import tailcall_audit.probes
from tailcall_audit.probes.processes import fork_worker
from tailcall_audit.probes.writing import write_file

ROOT = str(Path(tailcall_audit.probes.__file__ or "").resolve().parents[1])
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices and files of other users")


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def as_nobody(work: Callable[[], None]) -> int:
    """The exit status of a child that gives up root first."""

    def child(_: int) -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        work()

    number, reader = fork_worker(child)
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def test_a_new_file_gets_what_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "new", b"data")
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_bytes() == b"data"
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert only(tmp_path) == ["new"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o4755, 0o6777, 0o1666])
def test_a_file_keeps_its_permissions_but_never_a_set_user_id(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"a much longer old content")
    path.chmod(mode)
    number = path.stat().st_ino
    write_file(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode & 0o777
    assert path.stat().st_ino != number
    assert only(tmp_path) == ["old"]


@as_root
def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.write_bytes(b"old")
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o4777)
    write_file(path, b"new")
    state = path.stat()
    assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (NOBODY, NOBODY, 0o777)


@as_root
def test_a_file_whose_owner_cannot_be_kept_is_left_alone() -> None:
    with tempfile.TemporaryDirectory() as parent:  # the folders of pytest are closed to other users
        os.chmod(parent, 0o755)
        folder = Path(parent) / "folder"
        folder.mkdir()
        _try_as_nobody(folder)
        assert (folder / "root").read_bytes() == b"old"
        assert (folder / "root").stat().st_uid == 0
        assert only(folder) == ["closed", "root"]


def _try_as_nobody(folder: Path) -> None:
    folder.chmod(0o777)
    (folder / "root").write_bytes(b"old")
    (folder / "root").chmod(0o666)
    (folder / "closed").write_bytes(b"old")

    def work() -> None:
        with pytest.raises(PermissionError, match="belongs to another user or group"):
            write_file(folder / "root", b"new")
        # Though the folder would let it be replaced.
        with pytest.raises(PermissionError):
            write_file(folder / "closed", b"new")

    assert as_nobody(work) == 0


def test_an_access_list_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "listed"
    path.write_bytes(b"old")
    # user::rw-, user:65534:r--, group::---, mask::r--, other::--- in the form of Linux include/uapi/linux/posix_acl_xattr.h
    entries = [(1, 6, 0xFFFFFFFF), (2, 4, NOBODY), (4, 0, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
    access = (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, rights, who in entries
    )
    try:
        os.setxattr(path, "system.posix_acl_access", access)
    except OSError as error:
        pytest.skip(f"no access lists in {tmp_path}: {error.strerror}")
    write_file(path, b"new")
    assert os.getxattr(path, "system.posix_acl_access") == access
    assert path.read_bytes() == b"new"


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("a/real")
    (tmp_path / "chain").symlink_to("link")
    write_file(tmp_path / "chain", b"new")
    assert (tmp_path / "a/real").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()
    assert only(tmp_path / "a") == ["real"]


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(FileNotFoundError, match="a link to a file that does not exist"):
        write_file(tmp_path / "link", b"new")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        write_file(tmp_path / "loop", b"new")
    assert only(tmp_path) == ["link", "loop"]


def test_a_fifo_is_written_to(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    write_file(fifo, b"x" * 300_000)
    reader.join()
    assert read == [b"x" * 300_000]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert only(tmp_path) == ["fifo"]


@as_root
def test_a_device_is_written_to(tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        write_file(null, b"data")
    except PermissionError:
        pytest.skip("no devices can be made or opened here")
    assert stat.S_ISCHR(null.stat().st_mode)
    os.mknod(tmp_path / "full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "full", b"data")
    assert only(tmp_path) == ["full", "null"]


def test_an_open_descriptor_is_written_to_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb", buffering=0) as file:
        file.write(b"before ")
        for name in (
            f"/dev/fd/{file.fileno()}",
            f"/proc/self/fd/{file.fileno()}",
            f"/proc/{os.getpid()}/fd/{file.fileno()}",
        ):
            write_file(name, b"data ")
        (tmp_path / "link").symlink_to(f"/dev/fd/{file.fileno()}")
        write_file(tmp_path / "link", b"linked ")
        file.write(b"after")
    assert path.read_bytes() == b"before data data data linked after"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        taken: list[int] = []

        def take() -> None:
            while sum(taken) < 2_000_000:
                taken.append(len(theirs.recv(1 << 16)))

        reader = threading.Thread(target=take)
        reader.start()
        write_file(f"/dev/fd/{ours.fileno()}", b"x" * 2_000_000)
        reader.join()
        assert sum(taken) == 2_000_000
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_file("/dev/fd/999999", b"data")
    with pytest.raises(OSError):
        write_file("/dev/fd/x", b"data")


def test_standard_output_of_a_shell_is_appended_to(tmp_path: Path) -> None:
    script = f"import sys; sys.path.append({ROOT!r}); from tailcall_audit.probes.writing import write_file; write_file('/dev/stdout', b'data\\n')"
    with (tmp_path / "out").open("wb") as file:
        subprocess.run(
            ["sh", "-c", 'echo before; "$@"; echo after', "sh", sys.executable, "-c", script], stdout=file, check=True
        )
    assert (tmp_path / "out").read_text() == "before\ndata\nafter\n"
    assert only(tmp_path) == ["out"]


def test_a_reader_that_has_gone_is_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        write_file(f"/dev/fd/{writer}", b"data")
    os.close(writer)


@pytest.mark.parametrize("call", ["write", "fsync", "fchmod", "replace"])
def test_a_failure_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "old").write_bytes(b"old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "old", b"new")
    monkeypatch.undo()
    assert only(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"old"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()).isdisjoint({signal.SIGTERM, signal.SIGINT})


def test_a_file_too_large_leaves_nothing(tmp_path: Path) -> None:
    """The limit of a real kernel, not of a double."""
    script = (
        f"import sys, resource; sys.path.append({ROOT!r}); from tailcall_audit.probes.writing import write_file\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"try: write_file({str(tmp_path / 'new')!r}, b'x' * 200_000)\n"
        "except OSError as error: print(error.strerror)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert only(tmp_path) == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("call", ["write", "fsync", "fchmod", "replace"])
def test_a_signal_in_the_middle_leaves_the_whole_file_and_nothing_else(
    tmp_path: Path, ending: signal.Signals, call: str
) -> None:
    (tmp_path / "out").write_bytes(b"old")
    script = (
        f"import os, signal, sys; sys.path.append({ROOT!r}); from probes import writing\n"
        f"real = os.{call}\n"
        "def disturbed(*given, **named):\n"
        f"    os.kill(os.getpid(), {int(ending)})\n"
        "    return real(*given, **named)\n"
        f"signal.signal(signal.SIGINT, signal.default_int_handler); os.{call} = disturbed\n"
        f"writing.write_file({str(tmp_path / 'out')!r}, b'new')\nprint('not ended')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -ending
    assert done.stdout == ""
    assert only(tmp_path) == ["out"]
    assert (tmp_path / "out").read_bytes() == b"new"


def test_a_file_that_goes_away_meanwhile_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    real = os.open

    def swapped(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = real(name, flags, mode, dir_fd=dir_fd)
        if name == str(path):
            path.unlink()
            path.write_bytes(b"another's")
        return descriptor

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(FileNotFoundError, match="removed or replaced meanwhile"):
        write_file(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"another's"
    assert only(tmp_path) == ["out"]


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    for name in (str(tmp_path), f"{tmp_path}/new/", ""):
        with pytest.raises(OSError):
            write_file(name, b"data")
    assert only(tmp_path) == []


def test_a_name_of_255_bytes_is_no_problem(tmp_path: Path) -> None:
    name = "ä" * 127
    write_file(tmp_path / name, b"data")
    write_file(tmp_path / name, b"again")
    assert only(tmp_path) == [name]
