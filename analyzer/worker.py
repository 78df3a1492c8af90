"""One source a process: what is opened and read may be hostile, or break a library in C that no Python can interrupt.

A worker is forked, so that it costs some ten milliseconds. It has limits of processor time and memory, the parent waits
for a limited time, and says in words why a worker was ended by a signal. Its answer is unpickled by a reader that
accepts only the types of a report.
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
"""Bytes of one answer: a report with the evidence of every commit has less than 1 MiB."""
_HEADER = struct.Struct("<cQ")
_PROGRESS, _ITEM, _ERROR = b"p", b"i", b"e"
_MODULES = ("tailcall_audit.analyzer.basis", "tailcall_audit.analyzer.model", "tailcall_audit.analyzer.version")
_DEFECT = "defect"


class Limits(NamedTuple):
    """What a worker may use: seconds of processor time and of the clock, MiB of memory beside what it starts with.

    `most` is the memory that a process of its own may use, MiB (None: as much). `who` says for which inputs these
    limits are.
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
"""The limits by the opener, of an input of any size. A release string has none: a worker would cost it half of what the
whole audit takes.
"""
_SMALL, _MEDIUM = 1 << 20, 100 << 20
_BY_SIZE = (
    (_SMALL, Limits(5, 120, 512, who=", the limit of an input under 1 MB")),
    (_MEDIUM, Limits(60, 600, 1024, who=", the limit of an input under 100 MB")),
)
_METAPACKAGE = 64 << 10
"""Bytes: a smaller package may be one that only depends on a kernel's, which is read then."""
_OF_THE_HOST = frozenset(("host", "installed"))
_PACKS = (".git/objects/pack", "objects/pack")
"""Most of a clone is in them."""
_POINTERS = (".git", ".git/objects/info/alternates", "objects/info/alternates")
_MARKS = (".git", "Makefile")


def limits_of(opener: str, name: str) -> Limits:
    """Returns the limits of a source, by its opener and its size: a small input that takes long is a hostile one.

    What is not a file or a folder here (standard input, an address, an installed package) has those of any size. The
    memory of a process that the worker starts is that of any size too: the emulator of an image's functions has limits
    of its own.
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
    """Returns the highest folder at or above a path that could be the top of its tree: a part of a tree stands for all
    of it.
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
    """Returns the bytes of a file, or of the files in a folder, of which no more than needed are counted; None if
    nothing has the name.
    """
    try:
        if not os.path.isdir(name):
            return os.stat(name).st_size
        if any(os.path.isfile(os.path.join(name, pointer)) for pointer in _POINTERS):
            return None  # the history is in another folder
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
    """Writes a report; a defect goes as its slug, since both sides have the catalogue."""

    def persistent_id(self, obj: object) -> tuple[str, str] | None:
        """Returns what stands for an object, or None if it is written itself."""
        return (_DEFECT, obj.slug) if isinstance(obj, Defect) else None

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401
        """Returns how an object is made again: a member of an enum by its value.

        Python 3.11.2, that of Debian 12, writes one by its name and getattr, which the reader refuses; later ones write
        its value.
        """
        return (type(obj), (obj.value,)) if isinstance(obj, Enum) else NotImplemented


class _Unpickler(pickle.Unpickler):
    """Reads a report; refuses every other type that a worker sends."""

    def __init__(self, data: bytes, defects: Mapping[str, Defect], modules: frozenset[str]) -> None:
        super().__init__(io.BytesIO(data))
        self._defects = defects
        self._modules = modules

    def persistent_load(self, pid: object) -> Defect:
        """Returns the defect of a slug."""
        if isinstance(pid, tuple) and len(pid) == 2 and pid[0] == _DEFECT and pid[1] in self._defects:
            return self._defects[pid[1]]
        raise pickle.UnpicklingError(f"not a defect: {pid!r}")

    def find_class(self, module: str, name: str) -> object:
        """Returns a type of reports."""
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
    """Returns the bytes of memory that this process has already, as RLIMIT_DATA counts them; 0 where there is no /proc."""
    try:
        return int(read_file("/proc/self/statm", 1000).split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _work(writer: int, limits: Limits, judge: Callable[[Callable[[str], None]], Iterator[object]]) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limits.processor, limits.processor + 5))
    # Not the address space: libgit2 maps packs of gigabytes, of which little is read.
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
    """Returns why a worker ended without an answer."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return f"reading it takes more than {limits.processor} s of processor time{limits.who}"
        return f"the process that read it was ended by {signal.Signals(number).name}"
    return f"the process that read it ended with {os.waitstatus_to_exitcode(status)} and no answer"


def _messages(reader: int, limits: Limits) -> Iterator[tuple[bytes, bytes]]:
    """Yields what a worker sends until it closes its pipe; raises TimeoutError if that takes too long."""
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
    """Yields the reports that `judge` does, which runs in a worker: see `work_apart`."""
    return work_apart(judge, limits, catalog, progress, (TargetReport, Skipped))


def work_apart(
    judge: Callable[[Callable[[str], None]], Iterator[_Item]],
    limits: Limits,
    catalog: Catalog,
    progress: Callable[[str], None],
    kinds: tuple[type[_Item], ...],
) -> Iterator[_Item]:
    """Yields what `judge` does, all of these `kinds`; it runs in a worker and is given what to call with its progress.

    Raises AuditError if `judge` does, and where the worker ends before its time, at a limit or by a fault of a library.
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
