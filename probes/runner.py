"""Runs each probe in a separate process with a time limit: a probe that dies or hangs loses only its own result."""

from __future__ import annotations

import ctypes
import os
import struct
import time

from tailcall_audit.probes.guest.frames import SEPARATOR
from tailcall_audit.probes.observe import left_in_kernel, observe
from tailcall_audit.probes.probe import COULD_NOT_RUN, Probe, Result
from tailcall_audit.probes.processes import fork_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["TIME_LIMIT", "Runner"]

TIME_LIMIT = 20.0
"""Seconds for one probe: the slowest takes 0.2 s in an emulated guest."""
_PATIENCE = 2.0
_CHUNK = 1 << 16
# The module signal imports enum, which takes a twentieth of a second in an emulated guest.
_SIGKILL = 9
_POLLIN = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _pack(result: Result, ids: Sequence[tuple[str, int]]) -> bytes:
    """Returns a result and the objects made, by kind and number, as bytes for another process."""
    objects = ",".join(f"{kind}:{number}" for kind, number in ids)
    return SEPARATOR.join(
        (result.state, result.detail, "1" if result.conclusive else "", result.lacks, objects)
    ).encode("utf-8", "replace")


def _unpack(data: bytes) -> tuple[Result, list[tuple[str, int]]]:
    """Returns what `_pack` packed; raises ValueError if it is cut off."""
    state, detail, conclusive, lacks, objects = data.decode("utf-8", "replace").split(SEPARATOR)
    pairs = [item.split(":") for item in objects.split(",") if item]
    return Result(state, detail, bool(conclusive), lacks), [(kind, int(number)) for kind, number in pairs]


def _readable(reader: int, seconds: float) -> bool:
    """Returns True once there is something to read, or the other end is closed; False after this time."""
    # poll(2), no loop with sleep: an emulated guest has one processor, and a loop takes time from the child.
    entry = ctypes.create_string_buffer(struct.pack("=ihh", reader, _POLLIN, 0), 8)
    ready: int = _libc.poll(entry, 1, max(0, round(1000 * seconds)))
    return ready > 0


def _gone(child: int, seconds: float) -> int | None:
    """Returns the status of a child that ends within this time, else None."""
    end = time.monotonic() + seconds
    while True:
        ended_child, status = os.waitpid(child, os.WNOHANG)
        if ended_child:
            return status
        if time.monotonic() >= end:
            return None
        time.sleep(0.001)


def _ended(status: int) -> str:
    """Returns how a child ended that gave no answer."""
    if os.WIFSIGNALED(status):
        return f"its process was killed by signal {os.WTERMSIG(status)}"
    return f"its process ended with {os.waitstatus_to_exitcode(status)} and no answer"


class Runner:
    """Runs probes one after the other and records the objects that they made in the kernel.

    `prepare` is called first in each child; tests use it to drop privileges.
    """

    def __init__(self, *, in_guest: bool, limit: float = TIME_LIMIT, prepare: Callable[[], None] | None = None) -> None:
        self._in_guest = in_guest
        self._limit = limit
        self._prepare = prepare
        self._made: list[tuple[str, int]] = []

    def run(self, probe: Probe) -> Result:
        """Runs one probe and returns its result."""
        child, reader = fork_worker(lambda writer: self._answer(probe, writer))
        try:
            data, status, late = self._wait(child, reader)
        finally:
            os.close(reader)
        if status is None:
            return Result(
                COULD_NOT_RUN, f"no answer within {self._limit:g} s, and the kernel does not let go of it", False
            )
        if data:
            try:
                result, made = _unpack(data)
            except ValueError:
                return Result(COULD_NOT_RUN, "its process gave an answer that is cut off", False)
            self._made += made
            return result
        if late:
            return Result(COULD_NOT_RUN, f"no answer within {self._limit:g} s", False)
        return Result(COULD_NOT_RUN, _ended(status), False)

    def _answer(self, probe: Probe, writer: int) -> None:
        """Runs the probe in its child process and writes the result to the pipe."""
        try:
            if self._prepare is not None:
                self._prepare()
            data = _pack(*observe(probe, self._in_guest))
            while data:
                data = data[os.write(writer, data) :]
        except BaseException as error:
            text = _pack(Result(COULD_NOT_RUN, f"internal error: {type(error).__name__}: {error}", False), ())
            os.write(writer, text)
            raise

    def _wait(self, child: int, reader: int) -> tuple[bytes, int | None, bool]:
        """Returns the child's output, its status (None if it cannot be killed), and True if it took too long."""
        end = time.monotonic() + self._limit
        parts: list[bytes] = []
        late = False
        while True:
            ready = _readable(reader, end - time.monotonic())
            part = os.read(reader, _CHUNK) if ready else b""
            parts.append(part)
            if ready and not part:
                break
            if not ready and time.monotonic() >= end:
                if late:
                    break
                os.kill(child, _SIGKILL)
                late, end = True, time.monotonic() + _PATIENCE
        status = _gone(child, _PATIENCE)
        return (b"", None, True) if status is None else (b"".join(parts), status, late)

    def leftovers(self) -> list[str] | None:
        """Returns the objects of the probes that the kernel still has after a moment: an empty list if all were freed,
        None without CAP_SYS_ADMIN.
        """
        return left_in_kernel(self._made)
