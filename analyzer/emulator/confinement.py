"""Restricts a process to computing and to writing to descriptors that are open: limits, and a filter of system calls.

The filter is seccomp's (seccomp(2), Linux include/uapi/linux/seccomp.h). It allows the calls that memory, threads,
clocks and exit need; every other call fails with EPERM. There are tables of numbers for x86-64 and arm64 hosts;
elsewhere only the limits apply.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct

from tailcall_audit.probes.reading import open_file

__all__ = ["confine"]

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x10000
_LOAD, _EQUAL, _SET, _RETURN = 0x20, 0x15, 0x45, 0x06
"""BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_JMP|JSET|K, BPF_RET|K of classic BPF."""
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data."""

_X86_64 = {
    "read": 0, "write": 1, "close": 3, "poll": 7, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
    "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39,
    "exit": 60, "gettimeofday": 96, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204,
    "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "set_robust_list": 273, "getrandom": 318,
    "membarrier": 324, "rseq": 334,
}  # fmt: skip
_ARM64 = {
    "close": 57, "read": 63, "write": 64, "ppoll": 73, "exit": 93, "exit_group": 94, "futex": 98, "set_robust_list": 99,
    "nanosleep": 101, "clock_gettime": 113, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124, "tgkill": 131,
    "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "gettimeofday": 169, "getpid": 172,
    "gettid": 178, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278,
    "membarrier": 283, "rseq": 293,
}  # fmt: skip
_HOSTS = {
    # Audit architecture, numbers of clone and clone3, allowed numbers.
    "x86_64": (0xC000_003E, 56, 435, _X86_64),
    "aarch64": (0xC000_00B7, 220, 435, _ARM64),
}


class _Program(ctypes.Structure):
    """The C structure struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def confine(memory: int, seconds: int) -> bool:
    """Limits this process to `memory` more bytes of address space and `seconds` of processor time, without files or new
    processes. Returns True if the filter of system calls is in place too. This cannot be undone.

    Raises OSError if a limit cannot be set.
    """
    with open_file("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    for limit, value in (
        (resource.RLIMIT_AS, used + memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(limit)
        least = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (least, least))
    # The parent may have a lower soft limit, set by the size of its input.
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    return _filter_calls()


def _instruction(code: int, true: int, false: int, value: int) -> bytes:
    return struct.pack("<HBBI", code, true, false, value)


def _filter_calls() -> bool:
    host = _HOSTS.get(platform.machine())
    if host is None:
        return False
    architecture, clone, clone3, allowed = host
    code = [
        _instruction(_LOAD, 0, 0, _ARCHITECTURE),
        _instruction(_EQUAL, 1, 0, architecture),
        _instruction(_RETURN, 0, 0, _KILL_PROCESS),
        _instruction(_LOAD, 0, 0, _NUMBER),
        # With ENOSYS the C library falls back to clone(), whose flags a filter can see.
        _instruction(_EQUAL, 0, 1, clone3),
        _instruction(_RETURN, 0, 0, _ERRNO | _ENOSYS),
    ]
    for number in sorted(allowed.values()):
        code += [_instruction(_EQUAL, 0, 1, number), _instruction(_RETURN, 0, 0, _ALLOW)]
    code += [
        _instruction(_EQUAL, 0, 3, clone),
        _instruction(_LOAD, 0, 0, _FIRST_ARGUMENT),
        _instruction(_SET, 0, 1, _CLONE_THREAD),
        _instruction(_RETURN, 0, 0, _ALLOW),
        _instruction(_RETURN, 0, 0, _ERRNO | _EPERM),
    ]
    data = ctypes.create_string_buffer(b"".join(code))
    program = _Program(len(code), ctypes.cast(data, ctypes.c_void_p))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    zero = ctypes.c_ulong(0)
    return bool(
        prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) == 0
        and prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program), zero, zero) == 0
    )
