"""A throw-away guest: boots a kernel in QEMU, lets it run the probes, and reads what they saw from its serial lines.

No disk, no network, nothing of the host but the archive that `tailcall_audit.probes.guest.archive` makes. A probe that panics the guest costs one boot:
the others run in the next. The guest dies with the process that started it.
"""

from __future__ import annotations

import os
import re
import selectors
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.console import oops, why_not
from tailcall_audit.probes.guest.frames import parse
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, PRESENT, Result
from tailcall_audit.probes.processes import ProgramError, find_program, missing_program, run, start

__all__ = ["Guest", "GuestError", "GuestRun", "find_qemu", "run_in_guest"]

MINIMUM_QEMU = (5, 0)
"""The oldest QEMU that the options used here were looked up for: -cpu max under emulation, and serial lines to files."""
_ARCHITECTURES = {"x86_64": "x86_64"}
_PLACES = ("/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm")
# An emulated timer may miss its check on a busy host ("IO-APIC + timer doesn't work"): Documentation/admin-guide/kernel-parameters.txt.
_COMMAND_LINE = "console=ttyS0 quiet panic=-1 oops=panic no_timer_check PYTHONHASHSEED=0"
"""Words with a value that the kernel doesn't know become the environment of its first process: a young guest has no random numbers."""
_MAX_CONSOLE = 4 << 20
_MAX_FRAMES = 10 * len(PROBES)
_STATES = (PRESENT, ABSENT, COULD_NOT_RUN)


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
    found = find_program(name, _PLACES)
    if found is None:
        raise GuestError(
            f"{missing_program(name)}: install it (Debian and Ubuntu: apt-get install qemu-system-x86; Fedora and RHEL: dnf install"
            " qemu-kvm; SUSE: zypper install qemu-x86; Arch: pacman -S qemu-system-x86)"
        )
    try:
        done = run([found, "--version"], timeout=20)
    except ProgramError as error:
        raise GuestError(str(error)) from error
    output = done.output.decode("utf-8", "replace").strip()
    match = re.search(r"version (\d{1,4})\.(\d{1,4})", output)
    if match is None:
        raise GuestError(f"{found} does not say its version: {(output or done.complaint())[:200]}")
    if (int(match.group(1)), int(match.group(2))) < MINIMUM_QEMU:
        raise GuestError(
            f"{found} is version {match.group(1)}.{match.group(2)}; {MINIMUM_QEMU[0]}.{MINIMUM_QEMU[1]} is needed"
        )
    return found


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
        os.path.abspath(image),
        "-initrd",
        os.path.abspath(initramfs),
    ]
    command += ["-append", " ".join((_COMMAND_LINE, guest.append, words)).strip()]
    frames: dict[int, list[str]] = {}
    buffers = {"console": bytearray(), "results": bytearray(), "stderr": bytearray()}
    partial = {"console": b"", "results": b""}
    timed_out = False
    try:
        with (
            start(command, descriptors=(writer,), dies_with_us=True) as process,
            selectors.DefaultSelector() as selector,
        ):
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
                        # The kernel in there is whatever the user audits: it may tell anything, but not without end.
                        if found[0] not in frames and len(frames) < _MAX_FRAMES:
                            frames[found[0]] = found[1]
                            deadline = time.monotonic() + guest.patience
                            told(found[1])
                if cancelled():
                    raise GuestError("cancelled")
                if time.monotonic() > deadline:
                    timed_out = True
                    break
    except ProgramError as error:
        raise GuestError(str(error)) from error
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    text = {name: data.decode("utf-8", "replace") for name, data in buffers.items()}
    return _Boot([frames[number] for number in sorted(frames)], text["console"], timed_out, text["stderr"])


class _Told(NamedTuple):
    """What a boot's frames say: the kernel it is, results, the probe that was started last and has none, and how it ended."""

    hello: list[str] | None
    results: dict[str, Result]
    started: str | None
    end: tuple[float | None, tuple[str, ...]] | None
    error: str | None


def _read(frames: Sequence[Sequence[str]], known: set[str]) -> _Told:
    """Read frames; what is of no form that a guest of ours sends, or of no probe that it was given, is passed over."""
    hello: list[str] | None = None
    results: dict[str, Result] = {}
    started: str | None = None
    end: tuple[float | None, tuple[str, ...]] | None = None
    error: str | None = None
    for kind, *fields in frames:
        if kind == "hello" and len(fields) == 5:
            hello = fields
        elif kind == "start" and len(fields) == 1 and fields[0] in known:
            started = fields[0]
        elif kind == "result" and len(fields) == 4 and fields[0] in known and fields[1] in _STATES:
            results[fields[0]] = Result(fields[1], fields[2], bool(fields[3]))
            started = None
        elif kind == "end" and len(fields) == 2:
            seconds = float(fields[0]) if re.fullmatch(r"\d{1,6}\.\d{1,6}", fields[0], re.ASCII) else None
            end = seconds, tuple(name for name in fields[1].split(",") if name)
        elif kind == "error" and fields:
            error = f"the guest's first process failed: {fields[0]}"
    return _Told(hello, results, started, end, error)


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
            if fields[0] == "start" and len(fields) == 2:
                progress(f"{label}: {fields[1]}")

        boot = _boot(qemu, image, initramfs, guest, words, told, cancelled)
        consoles.append(boot.console)
        said = _read(boot.frames, {probe.slug for probe in waiting})
        results |= said.results
        if said.hello is not None:
            release, version, *rest = said.hello
            facts = dict(zip(("jit", "btf", "lockdown"), rest, strict=True))
        failure = said.error
        if said.hello is None:
            failure = failure or why_not(boot.console, boot.stderr, guest.patience if boot.timed_out else None)
        elif said.started is not None:
            probe = next(probe for probe in waiting if probe.slug == said.started)
            results[said.started] = oops(probe, boot.console, guest.patience if boot.timed_out else None)
        elif said.end is None:
            failure = failure or "the guest ended between two probes"
        else:
            seconds, left = said.end
        waiting = [probe for probe in waiting if probe.slug not in results]
        if said.end is not None and waiting:
            failure = failure or "the guest did not tell of every probe"
    for probe in waiting:
        results[probe.slug] = Result(COULD_NOT_RUN, failure or "the guest did not run it", False)
    return GuestRun(release, version, facts, results, tuple(consoles), failure, len(consoles), seconds, left)
