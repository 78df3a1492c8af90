"""Passes programs and BTF to the kernel. What it refuses is passed again, to get the log that says why: a log slows down
every load, and most loads need none.
"""

from __future__ import annotations

import ctypes
import struct

from tailcall_audit.probes.kernel.syscall import BpfError, buffer_of, raw_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Loading", "load_btf", "load_program"]

_PROG_LOAD, _BTF_LOAD = 5, 18
_LOG_SIZE = 1 << 16
_RECORD_SIZE = 8
"""The size of struct bpf_func_info in bytes."""

_logs: list[ctypes.Array[ctypes.c_char]] = []


class Loading:
    """A program to load: its type, its code, and the arguments of `Bpf.load`. `btf` is a descriptor, and `records` has
    the offset and BTF number of each function.

    This is not a named tuple because a guest would have to load `typing`.
    """

    def __init__(
        self, kind: int, code: bytes, name: str, attach_type: int, target: tuple[int, int] | None, flags: int
    ) -> None:
        self.kind = kind
        self.code = code
        self.name = name
        self.attach_type = attach_type
        self.target = target
        self.flags = flags
        self.btf = 0
        self.records = b""


def load_btf(data: bytes) -> int:
    """Loads BTF and returns its descriptor. Raises BpfError with the kernel's log."""
    kept = buffer_of(data)

    def attempt(address: int, size: int) -> int:
        level = int(size > 0)
        attributes = struct.pack("=QQIII", ctypes.addressof(kept), address, len(kept), size, level)
        return raw_call(_BTF_LOAD, attributes, "load of BTF")[0]

    return _with_log(attempt)


def load_program(loading: Loading) -> int:
    """Loads a program and returns its descriptor. Raises BpfError with the verifier's log."""
    insns, license_, infos = buffer_of(loading.code), buffer_of(b"GPL\0"), buffer_of(loading.records)
    target, number = loading.target or (0, 0)

    def attempt(address: int, size: int) -> int:
        attributes = struct.pack(
            "=IIQQIIQII16sIIIIQIIQIII",
            loading.kind,
            len(loading.code) // 8,
            ctypes.addressof(insns),
            ctypes.addressof(license_),
            int(size > 0),
            size,
            address,
            0,
            loading.flags,
            loading.name.encode()[:15],
            0,
            loading.attach_type,
            loading.btf,
            _RECORD_SIZE if loading.records else 0,
            ctypes.addressof(infos) if loading.records else 0,
            len(loading.records) // _RECORD_SIZE,
            0,
            0,
            0,
            number,
            target,
        )
        return raw_call(_PROG_LOAD, attributes, f"load of {loading.name}")[0]

    return _with_log(attempt)


def _with_log(attempt: Callable[[int, int], int]) -> int:
    """Calls `attempt` without a log (address and size 0), and if the kernel refuses, with one. Returns what the first
    call that succeeds returns.
    """
    try:
        return attempt(0, 0)
    except BpfError:
        log = _log()
        try:
            return attempt(ctypes.addressof(log), len(log))
        except BpfError as error:
            raise BpfError(error.errno or 0, error.what, log.value.decode("utf-8", "replace")) from None


def _log() -> ctypes.Array[ctypes.c_char]:
    """Returns the buffer for a log, the only one of this process: a new one would have to be cleared."""
    if not _logs:
        _logs.append(ctypes.create_string_buffer(_LOG_SIZE))
    _logs[0][0] = b"\0"
    return _logs[0]
