"""The process in which an image's code runs can do nothing but compute."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tailcall_audit.analyzer.emulator.child import Limits, run_bounded
from tailcall_audit.analyzer.emulator.reasons import EmulationError, Why
from tests.untouched import take_untouched_memory

filtered = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"),
    reason="system calls are filtered on hosts of x86-64 and arm64 only",
)


def test_what_it_computes_comes_back_whole() -> None:
    data = os.urandom(300_000)
    assert run_bounded(lambda: data) == data


def refused(attempt: Callable[[], object]) -> bytes:
    def work() -> bytes:
        try:
            attempt()
        except PermissionError:
            return b"refused"
        except OSError as error:
            return repr(error).encode()
        return b"allowed"

    return run_bounded(work)


@filtered
@pytest.mark.parametrize(
    "attempt",
    [
        lambda: os.open("/etc/hostname", os.O_RDONLY),
        lambda: os.open("/tmp/by-the-emulator", os.O_WRONLY | os.O_CREAT),
        lambda: os.mkdir("/tmp/by-the-emulator"),
        lambda: os.kill(os.getppid(), 0),
        os.fork,
        lambda: os.execv("/bin/true", ["true"]),
        socket.socket,
        lambda: os.listdir("/"),
        lambda: os.unlink("/tmp/by-the-emulator"),
        os.pipe,
    ],
    ids=["open", "create", "mkdir", "kill", "fork", "exec", "socket", "listdir", "unlink", "pipe"],
)
def test_it_reaches_nothing(attempt: Callable[[], object]) -> None:
    assert refused(attempt) == b"refused"
    assert not Path("/tmp/by-the-emulator").exists()


def test_it_has_no_descriptor_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "ours"
    path.write_text("secret")
    with path.open("rb") as file:
        number = file.fileno()

        def work() -> bytes:
            try:
                return os.read(number, 6)
            except OSError:
                return b"closed"

        assert run_bounded(work) == b"closed"


def ends(work: Callable[[], bytes], limits: Limits | None = None) -> None:
    with pytest.raises(EmulationError) as caught:
        run_bounded(work, limits)
    assert caught.value.why is Why.CRASHED


def test_a_crash_is_a_reason() -> None:
    ends(lambda: os._exit(3))
    ends(lambda: bytes(1 // 0))


def forever() -> bytes:
    while True:
        pass


def asleep() -> bytes:
    time.sleep(600)
    return b"late"


def test_one_that_does_not_end_is_ended() -> None:
    ends(forever, Limits(seconds=1))
    ends(asleep, Limits(clock=1))


def test_memory_is_bounded() -> None:
    def work() -> bytes:
        return str(take_untouched_memory()).encode()

    assert run_bounded(work, Limits(memory=64 << 30)) == b"17179869184"
    ends(work, Limits(memory=256 << 20))


def test_an_answer_that_never_ends_is_none() -> None:
    ends(lambda: bytes(4 << 20))


def test_no_process_is_left(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import os\n"
        "from tailcall_audit.analyzer.emulator.child import run_bounded\n"
        "run_bounded(lambda: b'x')\n"
        "try:\n    os.waitpid(-1, os.WNOHANG)\n    print('left')\nexcept ChildProcessError:\n    print('none')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "none", done.stderr
