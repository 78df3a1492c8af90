"""Runs probes in a guest, one after the other in one process: in emulation, a process for each would take half of their
time. A process that dies or hangs loses only the result of its probe, and another one takes its place.
"""

from __future__ import annotations

import os
import struct
import time

from tailcall_audit.probes.probe import COULD_NOT_RUN, Probe, Result
from tailcall_audit.probes.processes import fork_worker
from tailcall_audit.probes.runner import TIME_LIMIT, ended, gone, left_in_kernel, observe, pack, readable, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Worker"]

_CHUNK = 1 << 16
# The module signal imports enum, which takes a twentieth of a second in an emulated guest.
_SIGKILL = 9
_PATIENCE = 2.0
_SIZE = struct.Struct("=I")


class Worker:
    """Runs probes of a list, and records the objects that they made in the kernel.

    `prepare` is called first in each process; tests use it to drop privileges. Controls that several probes share run
    once in each process: `tailcall_audit.probes.kernel.programs.control` remembers what it saw.
    """

    def __init__(
        self, probes: Sequence[Probe], *, limit: float = TIME_LIMIT, prepare: Callable[[], None] | None = None
    ) -> None:
        self._probes = probes
        self._limit = limit
        self._prepare = prepare
        self._made: list[tuple[str, int]] = []
        self._child = self._answers = self._requests = -1

    def run(self, probe: Probe) -> Result:
        """Runs one probe of the list and returns its result."""
        if self._child < 0:
            self._start()
        try:
            os.write(self._requests, _SIZE.pack(self._probes.index(probe)))
        except BrokenPipeError:
            return self._lost(late=False)
        data = self._answer(time.monotonic() + self._limit)
        if data is None:
            return self._lost(late=True)
        if len(data) < _SIZE.size or len(data) < _SIZE.size + _SIZE.unpack_from(data)[0]:
            return self._lost(late=False)
        try:
            result, made = unpack(data[_SIZE.size :])
        except ValueError:
            return Result(COULD_NOT_RUN, "its process gave an answer that is cut off", False)
        self._made += made
        return result

    def leftovers(self) -> list[str] | None:
        """Ends the process, and returns the objects of the probes that the kernel still has after a moment: an empty
        list if all were freed, None without CAP_SYS_ADMIN.
        """
        self.close()
        return left_in_kernel(self._made)

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self._child >= 0:
            self._end()

    def _start(self) -> None:
        requests, self._requests = os.pipe()

        def serve(answers: int) -> None:
            os.close(self._requests)
            if self._prepare is not None:
                self._prepare()
            while request := os.read(requests, _SIZE.size):
                data = _result_of(self._probes[_SIZE.unpack(request)[0]])
                data = _SIZE.pack(len(data)) + data
                while data:
                    data = data[os.write(answers, data) :]

        self._child, self._answers = fork_worker(serve)
        os.close(requests)

    def _answer(self, end: float) -> bytes | None:
        """Returns what the process answers, less than its size if it died; None if it takes too long."""
        data = b""
        while len(data) < _SIZE.size or len(data) < _SIZE.size + _SIZE.unpack_from(data)[0]:
            if not readable(self._answers, end - time.monotonic()):
                return None
            part = os.read(self._answers, _CHUNK)
            if not part:
                break
            data += part
        return data

    def _lost(self, *, late: bool) -> Result:
        """Returns the result of a probe whose process died, or took too long and is killed."""
        status = self._end()
        if status is None:
            words = f"no answer within {self._limit:g} s, and the kernel does not let go of it"
        elif late:
            words = f"no answer within {self._limit:g} s"
        else:
            words = ended(status)
        return Result(COULD_NOT_RUN, words, False)

    def _end(self) -> int | None:
        """Ends the process and returns its status, or None if the kernel does not let go of it."""
        os.close(self._requests)
        status = gone(self._child, 0.02)
        if status is None:
            os.kill(self._child, _SIGKILL)
            status = gone(self._child, _PATIENCE)
        os.close(self._answers)
        self._child = self._answers = self._requests = -1
        return status


def _result_of(probe: Probe) -> bytes:
    try:
        return pack(*observe(probe, in_guest=True))
    except Exception as error:
        return pack(Result(COULD_NOT_RUN, f"internal error: {type(error).__name__}: {error}", False), ())
