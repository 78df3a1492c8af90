"""The first process of a guest: runs the probes, sends their results over a serial line, and ends the guest.

The kernel's command line says what to do: ``tca.only=NAME,…`` (which probes: slugs, or what `short` makes of them),
``tca.results=DEVICE,MAJOR,MINOR`` (the serial line of the results), ``tca.caps=NAME,…`` (run them as `nobody` with
these capabilities),
``tca.sysctl=PATH=VALUE,…`` (where the kernel has that file), ``tca.limit=SECONDS`` and ``tca.as_host=1`` (do what is
safe only, as on a host). Nothing of the host is there, and no disk, no network.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time

from tailcall_audit.probes.defects import load_probes
from tailcall_audit.probes.guest.frames import frame, short
from tailcall_audit.probes.guest.inline import Inline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tailcall_audit.probes.runner import Runner

__all__ = ["main"]

_libc = ctypes.CDLL(None, use_errno=True)
_RB_AUTOBOOT = 0x01234567
_CONSOLE = "/dev/console"
_JIT = "net/core/bpf_jit_enable"
_NOBODY = 65534
_CAPABILITIES = {"net_admin": 12, "sys_admin": 21, "perfmon": 38, "bpf": 39}
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT = 8, 47
_CAPABILITY_VERSION_3 = 0x20080522


def _mount(kind: str, where: str) -> None:
    os.makedirs(where, exist_ok=True)
    _libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None)


def _device(path: str, major: int, minor: int) -> str:
    if not os.path.exists(path):
        os.mknod(path, 0o600 | 0o020000, os.makedev(major, minor))
    return path


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


class _Report:
    """Sends frames. If the next step may panic, a frame is drained first; that takes the kernel some milliseconds."""

    def __init__(self, device: str) -> None:
        """`device` is the serial line as ``tca.results`` names it, empty if there is only the console."""
        self._number = 0
        self._repeat = 1
        try:
            name, major, minor = device.split(",")
            self._line = os.open(_device(f"/dev/{name}", int(major), int(minor)), os.O_WRONLY | os.O_NOCTTY)
            os.write(self._line, b"\n")
        except (OSError, ValueError):
            # A machine or a kernel with one serial port: the kernel's messages may tear a frame, so each is sent twice.
            self._line = os.open(_CONSOLE, os.O_WRONLY | os.O_NOCTTY)
            self._repeat = 2

    def send(self, *fields: str, drain: bool = False) -> None:
        data = frame(self._number, fields)
        self._number += 1
        for _ in range(self._repeat):
            rest = data
            while rest:
                rest = rest[os.write(self._line, rest) :]
        if drain:
            _libc.tcdrain(self._line)


def _become_nobody(capabilities: Sequence[str]) -> Callable[[], None]:
    """Returns what a child does to run with these capabilities only."""
    mask = sum(1 << _CAPABILITIES[name] for name in capabilities)

    def prepare() -> None:
        _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        low, high = mask & 0xFFFFFFFF, mask >> 32
        data = struct.pack("=6I", low, low, 0, high, high, 0)
        if _libc.capset(header, data) != 0:
            raise OSError(ctypes.get_errno(), "capset")

    return prepare


def _options(command_line: str) -> dict[str, str]:
    found = {}
    for word in command_line.split():
        name, equals, value = word.partition("=")
        if equals and name.startswith("tca."):
            found[name[4:]] = value
    return found


def _set(settings: str) -> None:
    for setting in settings.split(","):
        path, equals, value = setting.partition("=")
        if equals and os.path.exists(f"/proc/sys/{path}"):
            with open(f"/proc/sys/{path}", "w", encoding="utf-8") as file:
                file.write(value)


def _switch_jit_on(asked: str) -> str:
    """Switches the JIT on where the kernel boots without it and nothing else was asked for; returns how it booted."""
    at_boot = _line(f"/proc/sys/{_JIT}")
    if at_boot == "0" and _JIT not in asked:
        _set(f"{_JIT}=1")
    return at_boot


def _runner(options: dict[str, str]) -> Runner | Inline:
    """Returns what runs the probes: this process, unless they are to have a process of their own each, as on a host."""
    if "as_host" not in options and "caps" not in options:
        return Inline()
    from tailcall_audit.probes.runner import TIME_LIMIT, Runner

    prepare = _become_nobody([name for name in options["caps"].split(",") if name]) if "caps" in options else None
    return Runner(in_guest="as_host" not in options, limit=float(options.get("limit", TIME_LIMIT)), prepare=prepare)


def _run(report: _Report, options: dict[str, str]) -> None:
    asked = options.get("sysctl", "")
    jit_at_boot = _switch_jit_on(asked)
    _set(asked)
    only = options.get("only", "").split(",")
    probes = load_probes(lambda slug: only == [""] or slug in only or short(slug) in only)
    runner = _runner(options)
    system = os.uname()
    report.send(
        "hello",
        system.release,
        system.version,
        _line(f"/proc/sys/{_JIT}"),
        "1" if os.path.exists("/sys/kernel/btf/vmlinux") else "",
        _line("/sys/kernel/security/lockdown"),
        jit_at_boot,
        str(os.sysconf("SC_PAGE_SIZE")),
    )
    began = time.monotonic()
    for probe in probes:
        report.send("start", probe.slug, drain=probe.hazard is not None)
        result = runner.run(probe)
        report.send("result", probe.slug, result.state, result.detail, "1" if result.conclusive else "", result.lacks)
    taken = time.monotonic() - began
    left = runner.leftovers()
    report.send("end", f"{taken:.3f}", "unknown" if left is None else ",".join(left), drain=True)


def main() -> None:
    """Is the first process; never returns."""
    try:
        _mount("proc", "/proc")
        _mount("sysfs", "/sys")
        _libc.mount(b"securityfs", b"/sys/kernel/security", b"securityfs", 0, None)
        options = _options(_line("/proc/cmdline"))
        report = _Report(options.get("results", ""))
        try:
            _run(report, options)
        except BaseException as error:
            report.send("error", f"{type(error).__name__}: {error}", drain=True)
    except BaseException as error:
        sys.stderr.write(f"tailcall-audit: {type(error).__name__}: {error}\n")
    finally:
        os.sync()
        _libc.reboot(_RB_AUTOBOOT)
