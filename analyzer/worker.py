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
from typing import Any, NamedTuple, TypeVar

from tailcall_audit.analyzer.catalog.types import Catalog, Defect
from tailcall_audit.analyzer.model import AuditError, Skipped, TargetReport
from tailcall_audit.probes.processes import fork_worker
from tailcall_audit.probes.reading import read_file

__all__ = ["LIMITS", "Limits", "judge_apart", "limits_of", "work_apart"]

_Item = TypeVar("_Item")

_MIB = 1 << 20
_MOST = 256 * _MIB
"""The limit for one answer, in bytes. A report with the evidence of every commit has less than 1 MiB."""
_HEADER = struct.Struct("<cQ")
_PROGRESS, _ITEM, _ERROR = b"p", b"i", b"e"
_MODULES = ("tailcall_audit.analyzer.basis", "tailcall_audit.analyzer.model", "tailcall_audit.analyzer.version")
_DEFECT = "defect"


class Limits(NamedTuple):
    """The limits of a worker: processor time and elapsed time in seconds, and memory in MiB in addition to what it has
    at the start.

    `most` is the memory limit in MiB up to which a child process of the worker may raise its own (None: the same as
    `memory`). `who` describes the inputs with these limits, for messages.
    """

    processor: int
    clock: int
    memory: int
    most: int | None = None
    who: str = ""


LIMITS: Mapping[str, Limits] = {
    "config": Limits(20, 120, 512),
    "changelog": Limits(60, 900, 1024),
    "image": Limits(120, 900, 4096),
    "package": Limits(180, 1800, 4096),
    "repository": Limits(900, 7200, 1536),
    "tree": Limits(3600, 14400, 2048),
    "installed": Limits(900, 7200, 4096),
    "host": Limits(180, 1800, 4096),
    "nodes": Limits(300, 3600, 512),
    "text": Limits(600, 3600, 1024),
    "rootfs": Limits(900, 3600, 4096),
    "oci": Limits(900, 3600, 4096),
    "disk": Limits(900, 3600, 4096),
    "programs": Limits(120, 600, 2048),
}
"""The limits by opener, for inputs of any size. A release string has none, because a worker would take half of the time
of the whole audit.
"""
_SMALL, _MEDIUM = 1 << 20, 100 << 20
_BY_SIZE = (
    (_SMALL, Limits(5, 120, 512, who=", the limit of an input under 1 MB")),
    (_MEDIUM, Limits(60, 600, 1024, who=", the limit of an input under 100 MB")),
)
_METAPACKAGE = 64 << 10
"""Bytes. A smaller package may be a metapackage, for which the kernel package that it depends on is read."""
_OF_THE_HOST = frozenset(("host", "installed"))
_PACKS = (".git/objects/pack", "objects/pack")
"""The folders that hold most of a clone's data."""
_POINTERS = (".git", ".git/objects/info/alternates", "objects/info/alternates")
_MARKS = (".git", "Makefile")


def limits_of(opener: str, name: str) -> Limits:
    """Returns the limits of a source by its opener and size. A small input that takes long is treated as hostile.

    A source that is not a local file or folder (standard input, an address, an installed package) has the limits for
    any size. Child processes of a worker may also use the memory limit for any size, because the emulator of an image's
    functions has limits of its own.
    """
    widest = LIMITS[opener]
    place = os.path.expanduser(name)
    if opener == "tree":
        place = _top(place)
    size = None if opener in _OF_THE_HOST else _size(place)
    if size is None:
        return widest
    if opener == "package" and size < _METAPACKAGE:
        size = _SMALL
    for below, limits in _BY_SIZE:
        if size < below:
            return limits._replace(
                processor=min(limits.processor, widest.processor),
                clock=min(limits.clock, widest.clock),
                memory=min(limits.memory, widest.memory),
                most=widest.memory,
            )
    return widest


def _top(name: str) -> str:
    """Returns the highest folder at or above a path that may be the top of a tree, so that a part of a tree is limited
    like the whole.
    """
    try:
        place = os.path.realpath(name)
    except (OSError, ValueError):
        return name
    top = place
    while (above := os.path.dirname(place)) != place:
        place = above
        if any(os.path.lexists(os.path.join(place, mark)) for mark in _MARKS):
            top = place
    return top


def _size(name: str) -> int | None:
    """Returns the size of a file, or of the files in a folder, in bytes. Stops counting at the largest threshold. None
    if the path does not exist or the size is unknown.
    """
    try:
        if not os.path.isdir(name):
            return os.stat(name).st_size
        if any(os.path.isfile(os.path.join(name, pointer)) for pointer in _POINTERS):
            return None  # the git history is in another folder
        total = 0
        for folder in (*(os.path.join(name, place) for place in _PACKS), name):
            for parent, _, files in os.walk(folder):
                for file in files:
                    total += os.lstat(os.path.join(parent, file)).st_size
                    if total >= _MEDIUM:
                        return total
    except (OSError, ValueError):
        return None
    return total


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
