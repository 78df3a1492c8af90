"""A throw-away guest: boots a kernel in QEMU, lets it run the probes, and reads what they saw from its serial lines.

No disk, no network, nothing of the host but the archive that `probes.initramfs` makes. A probe that panics the guest costs one boot:
the others run in the next. The guest dies with the process that started it.
"""

from __future__ import annotations

import ctypes
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from probes.all import PROBES
from probes.frames import parse
from probes.model import COULD_NOT_RUN, PRESENT, Probe, Result

__all__ = ["Guest", "GuestError", "GuestRun", "find_qemu", "run_in_guest"]

MINIMUM_QEMU = (5, 0)
"""The oldest QEMU that the options used here were looked up for: -cpu max under emulation, and serial lines to files."""
_ARCHITECTURES = {"x86_64": "x86_64"}
_PLACES = ("/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm")
_COMMAND_LINE = "console=ttyS0 quiet panic=-1 oops=panic PYTHONHASHSEED=0"
"""Words with a value that the kernel doesn't know become the environment of its first process: a young guest has no random numbers."""
_MAX_CONSOLE = 4 << 20
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_RIP = re.compile(r"RIP: [0-9a-f]+:(\w+)\+0x")
_FRAME = re.compile(r"^(?:\[[ 0-9.]+\])?\s+(?:\? )?(\w+)\+0x[0-9a-f]+/0x[0-9a-f]+", re.MULTILINE)
_OOPS = re.compile(r"(?:BUG: |Oops: |general protection fault|kernel BUG at|Kernel panic - not syncing: )[^\n]*")
_REASONS = (
    (re.compile(r"unpacking failed|Initramfs unpacking"), "the kernel could not unpack its initramfs"),
    (re.compile(r"Unable to mount root fs|Cannot open root device"), "the kernel has no support for an initramfs (CONFIG_BLK_DEV_INITRD)"),
    (re.compile(r"No working init found|Failed to execute /init|Requested init .* failed"), "the kernel could not run the guest's first process (CONFIG_BINFMT_ELF, CONFIG_BINFMT_SCRIPT)"),
    (re.compile(r"System is deadlocked on memory|Out of memory|not enough memory"), "the guest has too little memory"),
    (re.compile(r"invalid kernel header|not a bzImage|linux kernel too old|Could not load kernel|unsupported kernel|Error loading uncompressed"), "QEMU cannot load this file as a kernel"),
)  # fmt: skip


class GuestError(RuntimeError):
    """A guest that can't be started; the message says why, and what to do."""


class Guest(NamedTuple):
    """How to boot: memory in MiB, seconds until it must have told something new, KVM instead of emulation, words for the kernel's
    command line (some of which the guest's first process reads)."""

    memory: int = 512
    patience: float = 90.0
    kvm: bool = False
    append: str = ""


class GuestRun(NamedTuple):
    """What a guest told: the kernel's release, version and facts about it, each probe's result by slug, the consoles of its boots,
    and why it never began, if so. `seconds` is what the probes took in the last boot, `left` what they left behind in the kernel."""

    release: str
    version: str
    facts: dict[str, str]
    results: dict[str, Result]
    consoles: tuple[str, ...]
    failure: str | None
    boots: int
    seconds: float | None
    left: tuple[str, ...]


class _Boot(NamedTuple):
    frames: list[list[str]]
    console: str
    timed_out: bool
    stderr: str


def find_qemu(machine: str | None = None) -> str:
    """The QEMU for kernels of this host's architecture; raises GuestError where there is none, or one that is too old."""
    machine = machine or os.uname().machine
    if machine not in _ARCHITECTURES:
        raise GuestError(f"guests of {machine} were never tried here: run --confirm=host on such a host")
    name = f"qemu-system-{_ARCHITECTURES[machine]}"
    found = shutil.which(name) or next((place for place in _PLACES if os.access(place, os.X_OK)), None)
    if found is None:
        raise GuestError(
            f"no {name} on this host: install it (Debian and Ubuntu: apt-get install qemu-system-x86; Fedora and RHEL: dnf install"
            " qemu-kvm; SUSE: zypper install qemu-x86; Arch: pacman -S qemu-system-x86)"
        )
    try:
        done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GuestError(f"{found} does not run: {error}") from error
    match = re.search(r"version (\d+)\.(\d+)", done.stdout)
    if match is None:
        raise GuestError(f"{found} does not say its version: {(done.stdout or done.stderr).strip()[:200]}")
    if (int(match.group(1)), int(match.group(2))) < MINIMUM_QEMU:
        raise GuestError(
            f"{found} is version {match.group(1)}.{match.group(2)}; {MINIMUM_QEMU[0]}.{MINIMUM_QEMU[1]} is needed"
        )
    return found


def _die_with_parent() -> None:
    """Run between fork and exec: the kernel kills the guest when its parent ends, however that ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@contextmanager
def _process(command: Sequence[str], results: int) -> Iterator[subprocess.Popen[bytes]]:
    # The fork does nothing but one system call, which is safe in a process with threads too.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(results,),
        preexec_fn=_die_with_parent,  # noqa: PLW1509
    )
    try:
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
    finally:
        process.wait()


def _boot(
    qemu: str,
    image: Path,
    initramfs: Path,
    guest: Guest,
    words: str,
    told: Callable[[list[str]], None],
    cancelled: Callable[[], bool],
) -> _Boot:
    """Boot once and read until the guest ends or goes silent."""
    reader, writer = os.pipe()
    command = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", str(guest.memory)]
    command += ["-accel", "kvm", "-cpu", "host"] if guest.kvm else ["-accel", "tcg", "-cpu", "max"]
    command += [
        "-serial",
        "stdio",
        "-serial",
        f"file:/dev/fd/{writer}",
        "-kernel",
        str(image),
        "-initrd",
        str(initramfs),
    ]
    command += ["-append", " ".join((_COMMAND_LINE, guest.append, words)).strip()]
    frames: dict[int, list[str]] = {}
    buffers = {"console": bytearray(), "results": bytearray(), "stderr": bytearray()}
    partial = {"console": b"", "results": b""}
    timed_out = False
    try:
        with _process(command, writer) as process, selectors.DefaultSelector() as selector:
            os.close(writer)
            writer = -1
            assert process.stdout is not None
            assert process.stderr is not None
            for source, name in (
                (process.stdout.fileno(), "console"),
                (process.stderr.fileno(), "stderr"),
                (reader, "results"),
            ):
                os.set_blocking(source, False)
                selector.register(source, selectors.EVENT_READ, name)
            deadline = time.monotonic() + guest.patience
            while selector.get_map():
                ready = selector.select(timeout=max(0.0, min(1.0, deadline - time.monotonic())))
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fd)
                        continue
                    if len(buffers[key.data]) < _MAX_CONSOLE:
                        buffers[key.data] += data
                    if key.data == "stderr":
                        continue
                    # Frames come on the second line, or between the messages of the only one.
                    lines = (partial[key.data] + data).split(b"\n")
                    partial[key.data] = lines.pop()[-8192:]
                    for found in filter(None, map(parse, lines)):
                        if found[0] not in frames:
                            frames[found[0]] = found[1]
                            deadline = time.monotonic() + guest.patience
                            told(found[1])
                if cancelled():
                    raise GuestError("cancelled")
                if time.monotonic() > deadline:
                    timed_out = True
                    break
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    text = {name: data.decode("utf-8", "replace") for name, data in buffers.items()}
    return _Boot([frames[number] for number in sorted(frames)], text["console"], timed_out, text["stderr"])


def _oops(probe: Probe, console: str, timed_out: bool, patience: float) -> Result:
    """What the end of a guest in the middle of a probe means: an observation where the oops is in the probe's own functions."""
    found = _OOPS.search(console)
    if found is None:
        ended = f"said nothing for {patience:g} s" if timed_out else "ended"
        last = [line for line in console.splitlines() if line.strip()][-1:]
        return Result(
            COULD_NOT_RUN, f"the guest {ended} in the middle of it{': ' + last[0].strip()[:200] if last else ''}", False
        )
    trace = console[found.start() :]
    functions = [*_RIP.findall(trace)[:1], *_FRAME.findall(trace)[:40]]
    guilty = next((name for name in functions if name in probe.panics_in), None)
    what = found.group().strip()[:160]
    if guilty is None:
        where = f" in {functions[0]}" if functions else ""
        return Result(COULD_NOT_RUN, f"the guest oopsed{where}, which does not show this defect: {what}", False)
    return Result(PRESENT, f"panicked in {guilty}: {what}")


def _why_not(boot: _Boot, guest: Guest) -> str:
    """Why a guest never came to the probes."""
    for pattern, reason in _REASONS:
        if pattern.search(boot.console) or pattern.search(boot.stderr):
            return reason
    if "Attempted to kill init" in boot.console:
        said = boot.console[: boot.console.find("Kernel panic")].strip().splitlines()
        words = [line.strip() for line in said if line.strip() and not line.startswith("[")][:2]
        return f"the guest's first process ended: {'; '.join(words)[:300] or 'without a word'}"
    if "Kernel panic" in boot.console or _OOPS.search(boot.console):
        found = _OOPS.search(boot.console[boot.console.find("Kernel panic") :]) or _OOPS.search(boot.console)
        return f"the kernel panicked before it reached user space: {found.group().strip()[:200] if found else ''}"
    if boot.stderr.strip() and not boot.console.strip():
        return f"QEMU: {boot.stderr.strip().splitlines()[-1][:300]}"
    if not boot.console.strip():
        more = f" within {guest.patience:g} s" if boot.timed_out else ""
        return f"nothing on its serial line{more}: the kernel has no console there (CONFIG_SERIAL_8250_CONSOLE), or does not start on this machine"
    last = [line for line in boot.console.splitlines() if line.strip()][-1].strip()[:200]
    how = f"told nothing for {guest.patience:g} s" if boot.timed_out else "ended before it told anything"
    return f"the guest {how}; its last words: {last}"


def run_in_guest(
    image: Path,
    initramfs: Path,
    guest: Guest | None = None,
    slugs: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
    qemu: str | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    name: str | None = None,
) -> GuestRun:
    """Run probes (None: all) in guests booted from a kernel image; raises GuestError where no guest can be started at all."""
    qemu = qemu or find_qemu()
    guest = guest or Guest()
    label = name or image.name
    if guest.kvm and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise GuestError("--kvm: /dev/kvm cannot be used here; without --kvm the guest is emulated")
    waiting = [probe for probe in PROBES if slugs is None or probe.slug in slugs]
    results: dict[str, Result] = {}
    release = version = ""
    facts: dict[str, str] = {}
    consoles: list[str] = []
    failure: str | None = None
    seconds: float | None = None
    left: tuple[str, ...] = ()
    while waiting and failure is None:
        progress(f"booting {label} ({len(waiting)} probes)")
        words = f"tca.only={','.join(probe.slug for probe in waiting)}"

        def told(fields: list[str]) -> None:
            if fields[0] == "start":
                progress(f"{label}: {fields[1]}")

        boot = _boot(qemu, image, initramfs, guest, words, told, cancelled)
        consoles.append(boot.console)
        started: str | None = None
        ended = greeted = False
        for kind, *fields in boot.frames:
            if kind == "hello" and len(fields) >= 5:
                greeted = True
                release, version = fields[:2]
                facts = {"jit": fields[2], "btf": fields[3], "lockdown": fields[4]}
            elif kind == "start":
                started = fields[0]
            elif kind == "result" and len(fields) == 4:
                results[fields[0]] = Result(fields[1], fields[2], bool(fields[3]))
                started = None
            elif kind == "end" and len(fields) == 2:
                ended, seconds = True, float(fields[0])
                left = tuple(name for name in fields[1].split(",") if name)
            elif kind == "error":
                failure = f"the guest's first process failed: {fields[0]}"
        if not greeted:
            failure = failure or _why_not(boot, guest)
        elif started is not None:
            probe = next(probe for probe in waiting if probe.slug == started)
            results[started] = _oops(probe, boot.console, boot.timed_out, guest.patience)
        elif not ended:
            failure = failure or "the guest ended between two probes"
        waiting = [probe for probe in waiting if probe.slug not in results]
        if ended and waiting:
            failure = failure or "the guest did not tell of every probe"
    for probe in waiting:
        results[probe.slug] = Result(COULD_NOT_RUN, failure or "the guest did not run it", False)
    return GuestRun(release, version, facts, results, tuple(consoles), failure, len(consoles), seconds, left)
