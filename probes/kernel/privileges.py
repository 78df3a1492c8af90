"""Explains why the kernel refuses to run a probe: what is missing or switched off."""

from __future__ import annotations

import errno
import os

from tailcall_audit.probes.kernel.bpf import ENOTSUPP, Bpf, BpfError

__all__ = ["missing_capabilities", "refusal_in_words"]


def refusal_in_words(kernel: Bpf, error: BpfError) -> str:
    """Returns a description of an error that prevents a probe from running, with the known causes."""
    if error.errno in (errno.EPERM, errno.EACCES) and not error.log:
        return f"{error.words}: {_missing(kernel)}"
    if error.errno == errno.ENOSYS:
        return f"{error.words}: this kernel has no bpf(2), or seccomp hides it"
    if error.errno in (errno.EINVAL, ENOTSUPP) and not _jit_is_on():
        return f"{error.words}: the JIT is off (net.core.bpf_jit_enable=0), and without it programs with subprograms can't tail-call"
    return error.words


def _jit_is_on() -> bool:
    text = _first_line("/proc/sys/net/core/bpf_jit_enable")
    return text is None or text != "0"


def _first_line(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return None


_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


def missing_capabilities() -> list[str]:
    """Returns the capabilities that probes need and this process lacks. CAP_SYS_ADMIN includes all of them."""
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    except (OSError, StopIteration, ValueError):
        return []
    if effective >> _CAPABILITIES["CAP_SYS_ADMIN"] & 1:
        return []
    return [name for name, bit in _CAPABILITIES.items() if name != "CAP_SYS_ADMIN" and not effective >> bit & 1]


def _missing(kernel: Bpf) -> str:
    causes = []
    missing = missing_capabilities()
    if missing:
        setting = _first_line("/proc/sys/kernel/unprivileged_bpf_disabled")
        causes.append(
            f"without {', '.join(missing)}" + (f" (unprivileged_bpf_disabled={setting})" if setting is not None else "")
        )
    if not kernel.memlock_raised and _counts_memlock():
        causes.append(
            "RLIMIT_MEMLOCK can't be raised without CAP_SYS_RESOURCE, and maps and programs count against it before 5.11"
        )
    lockdown = _first_line("/sys/kernel/security/lockdown")
    if not causes and _seccomp():
        causes.append("seccomp filters this process's system calls, or a security module refuses")
    if not causes and lockdown and "[none]" not in lockdown:
        causes.append(f"the kernel is locked down ({lockdown})")
    return "; ".join(causes) or "a security module refuses, or a user namespace does not count"


def _counts_memlock() -> bool:
    """Returns True if BPF memory counts against RLIMIT_MEMLOCK. Memory cgroups replaced that in 5.11 (observed:
    5.10.218 refuses, 6.1.170 does not).
    """
    words = os.uname().release.split(".")
    try:
        return (int(words[0]), int(words[1].split("-")[0])) < (5, 11)
    except (IndexError, ValueError):
        return False


def _seccomp() -> bool:
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
            return any(line.startswith("Seccomp:") and line.split()[1] != "0" for line in file)
    except OSError:
        return False
