"""The reasons why the kernel refuses to run a probe, in words: what is missing, or switched off."""

from __future__ import annotations

import errno
import os

from tailcall_audit.probes.kernel.bpf import ENOTSUPP, Bpf, BpfError

__all__ = ["missing_capabilities", "refusal_in_words"]


def refusal_in_words(kernel: Bpf, error: BpfError) -> str:
    """An error that keeps a probe from running, in words, with what is known to cause it."""
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
    """Returns which of the capabilities that probes need are not there; CAP_SYS_ADMIN stands for all of them."""
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
    """Returns True if memory of BPF counts against RLIMIT_MEMLOCK: memory control groups took over in 5.11 (5.10.218
    was seen to refuse, 6.1.170 not).
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
