"""Reads each source in its own process, because inputs may be hostile, or may hang a C library that Python cannot
interrupt.

A worker is forked, which takes some ten milliseconds. It has limits of processor time and memory, and the parent waits
for a limited time. If a signal ends a worker, the error message explains why. The parent unpickles only the types that
a report consists of.
"""

from __future__ import annotations

import io
import os
import pickle
import resource
import selectors
import signal
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar

from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.limits import Limits
from tailcall_audit.analyzer.model import AuditError, Skipped, TargetReport
from tailcall_audit.probes.processes import fork_worker
from tailcall_audit.probes.reading import read_file

__all__ = ["judge_apart", "work_apart"]

_Item = TypeVar("_Item")

_MIB = 1 << 20
_MOST = 256 * _MIB
"""The limit for one answer, in bytes. A report with the evidence of every commit has less than 1 MiB."""
_HEADER = struct.Struct("<cQ")
_PROGRESS, _ITEM, _ERROR = b"p", b"i", b"e"
_MODULES = tuple(f"tailcall_audit.analyzer.{name}" for name in ("basis", "evidence", "model", "version"))
_DEFECT = "defect"


class _Pickler(pickle.Pickler):
    """Pickles a report. A defect is pickled as its slug, because both sides have the catalogue."""

    def persistent_id(self, obj: object) -> tuple[str, str] | None:
        """Returns the reference that replaces an object, or None if the object itself is pickled."""
        return (_DEFECT, obj.slug) if isinstance(obj, Defect) else None

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401
        """Returns how an object is recreated: members of an enum by their value.

        Python 3.11.2, the version in Debian 12, would pickle them by name and getattr, which the reader refuses. Later
        versions use the value.
        """
        return (type(obj), (obj.value,)) if isinstance(obj, Enum) else NotImplemented


class _Unpickler(pickle.Unpickler):
    """Unpickles a report. Refuses all types that a report does not contain."""

    def __init__(self, data: bytes, defects: Mapping[str, Defect], modules: frozenset[str]) -> None:
        super().__init__(io.BytesIO(data))
        self._defects = defects
        self._modules = modules

    def persistent_load(self, pid: object) -> Defect:
        """Returns the defect with a slug."""
        if isinstance(pid, tuple) and len(pid) == 2 and pid[0] == _DEFECT and pid[1] in self._defects:
            return self._defects[pid[1]]
        raise pickle.UnpicklingError(f"not a defect: {pid!r}")

    def find_class(self, module: str, name: str) -> object:
        """Returns a type of a report, or raises an error for any other type."""
        if module not in self._modules or "." in name:
            raise pickle.UnpicklingError(f"not a type of reports: {module}.{name}")
        found = super().find_class(module, name)
        if not isinstance(found, type):
            raise pickle.UnpicklingError(f"not a type: {module}.{name}")
        return found


def _send(writer: int, kind: bytes, data: bytes) -> None:
    message = _HEADER.pack(kind, len(data)) + data
    while message:
        message = message[os.write(writer, message) :]


def _data() -> int:
    """Returns the memory that this process uses already, in bytes, as RLIMIT_DATA counts it; 0 without /proc."""
    try:
        return int(read_file("/proc/self/statm", 1000).split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _work(writer: int, limits: Limits, judge: Callable[[Callable[[str], None]], Iterator[object]]) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limits.processor, limits.processor + 5))
    # Do not limit the address space: libgit2 maps packs of gigabytes and reads little of them.
    had, most = _data(), max(limits.memory, limits.most or 0)
    resource.setrlimit(resource.RLIMIT_DATA, (had + limits.memory * _MIB, had + most * _MIB))
    try:
        for item in judge(lambda text: _send(writer, _PROGRESS, text.encode("utf-8", "replace"))):
            written = io.BytesIO()
            _Pickler(written).dump(item)
            _send(writer, _ITEM, written.getvalue())
    except AuditError as error:
        _send(writer, _ERROR, str(error).encode("utf-8", "replace"))
    except MemoryError:
        _send(writer, _ERROR, f"reading it takes more than {limits.memory} MiB of memory{limits.who}".encode())
    except OSError as error:  # a file or folder that is removed while it is read
        where = error.filename if isinstance(error.filename, str) else "input"
        _send(writer, _ERROR, f"{where}: {error.strerror or error}".encode("utf-8", "replace"))


def _why(status: int, limits: Limits) -> str:
    """Returns the reason why a worker ended without an answer."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return f"reading it takes more than {limits.processor} s of processor time{limits.who}"
        return f"the process that read it was ended by {signal.Signals(number).name}"
    return f"the process that read it ended with {os.waitstatus_to_exitcode(status)} and no answer"


def _messages(reader: int, limits: Limits) -> Iterator[tuple[bytes, bytes]]:
    """Yields the messages of a worker until it closes its pipe. Raises TimeoutError if that takes too long."""
    end = time.monotonic() + limits.clock
    buffer = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout=max(0.0, end - time.monotonic())):
                raise TimeoutError
            data = os.read(reader, 1 << 16)
            if not data:
                if buffer:
                    raise pickle.UnpicklingError("it is cut off")
                return
            buffer += data
            while len(buffer) >= _HEADER.size:
                kind, size = _HEADER.unpack_from(buffer)
                if size > _MOST:
                    raise pickle.UnpicklingError(f"an answer of {size} bytes")
                if len(buffer) < _HEADER.size + size:
                    break
                yield kind, bytes(buffer[_HEADER.size : _HEADER.size + size])
                del buffer[: _HEADER.size + size]


def judge_apart(
    judge: Callable[[Callable[[str], None]], Iterator[TargetReport | Skipped]],
    limits: Limits,
    catalog: Catalog,
    progress: Callable[[str], None],
) -> Iterator[TargetReport | Skipped]:
    """Runs `judge` in a worker and yields its reports; see `work_apart`."""
    return work_apart(judge, limits, catalog, progress, (TargetReport, Skipped))


def work_apart(
    judge: Callable[[Callable[[str], None]], Iterator[_Item]],
    limits: Limits,
    catalog: Catalog,
    progress: Callable[[str], None],
    kinds: tuple[type[_Item], ...],
) -> Iterator[_Item]:
    """Runs `judge` in a worker and yields its items, which must be of the given `kinds`. `judge` gets a function to
    call with its progress.

    Raises AuditError if `judge` raises it, or if the worker ends early because of a limit or a fault in a library.
    """
    child, reader = fork_worker(lambda writer: _work(writer, limits, judge))
    defects = {defect.slug: defect for defect in catalog.defects}
    modules = frozenset((*_MODULES, *(kind.__module__ for kind in kinds)))
    status: int | None = None
    try:
        for kind, data in _messages(reader, limits):
            if kind == _PROGRESS:
                progress(data.decode("utf-8", "replace"))
            elif kind == _ERROR:
                raise AuditError(data.decode("utf-8", "replace"))
            else:
                item = _Unpickler(data, defects, modules).load()
                if not isinstance(item, kinds):
                    raise pickle.UnpicklingError("not a report")
                yield item
        status = os.waitpid(child, 0)[1]
    except TimeoutError as error:
        raise AuditError(f"reading it takes more than {limits.clock} s{limits.who}") from error
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, IndexError, KeyError) as error:
        raise AuditError(f"the process that read it gave no report: {error}") from error
    finally:
        os.close(reader)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if status != 0:
        raise AuditError(_why(status, limits))
