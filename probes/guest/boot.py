"""A throw-away guest: boots a kernel in QEMU, lets it run the probes, and reads what they saw from its serial lines.

No disk, no network, nothing of the host but the archive that `tailcall_audit.probes.guest.archive` makes. A probe that
panics the guest costs one boot: the others run in the next. The guest dies with the process that started it.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.archive import INIT_WORDS
from tailcall_audit.probes.guest.console import oops, why_not
from tailcall_audit.probes.guest.frames import parse, short
from tailcall_audit.probes.guest.machines import Machine
from tailcall_audit.probes.guest.qemu import NOBODY, GuestError, Qemu, find_machine, find_qemu, is_native
from tailcall_audit.probes.guest.qemu import limits as resource_limits
from tailcall_audit.probes.probe import ABSENT, COULD_NOT_RUN, PRESENT, Result
from tailcall_audit.probes.processes import ProgramError, start
from tailcall_audit.probes.reading import open_file

if TYPE_CHECKING:
    from tailcall_audit.probes.processes import Process

__all__ = ["Guest", "GuestError", "GuestRun", "Qemu", "find_qemu", "run_in_guest"]

_COMMAND_LINE = "quiet panic=-1 oops=panic rootfstype=ramfs PYTHONHASHSEED=0"
"""A ramfs takes the archive in less time than the tmpfs that it would be otherwise. Words with a value that the kernel
doesn't know become the environment of its first process: a young guest has no random numbers.
"""
_BOOT_TIME = 4
"""A boot may take this many times the patience, even if it keeps sending."""
_RUN_TIME = 10
"""The boots of a run together may take this many times the patience."""
_MAX_CONSOLE = 4 << 20
_MAX_FRAMES = 10 * len(PROBES)
_FACTS = ("jit", "btf", "lockdown", "jit_at_boot", "page_size")
"""Facts that a guest reports about its kernel: net.core.bpf_jit_enable, "1" if it has BTF, its lockdown, the setting of
the JIT that it booted with, and the bytes of a page.
"""
_STATES = (PRESENT, ABSENT, COULD_NOT_RUN)


class Guest(NamedTuple):
    """How to boot: memory in MiB, seconds that it may be silent, KVM instead of emulation, words for the kernel's
    command line (some of which the guest's first process reads)."""

    memory: int = 512
    patience: float = 90.0
    kvm: bool = False
    append: str = ""


class GuestRun(NamedTuple):
    """What a guest reported: the kernel's release, version and facts about it, each probe's result by slug, the
    consoles of its boots, and why it never began, if so. `seconds` is what the probes took in the last boot, `left`
    what they left behind in the kernel.
    """

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


class _Limits(NamedTuple):
    """When a boot is given up: seconds of silence, and a point of time.monotonic()."""

    patience: float
    end: float


def _copy(path: Path) -> int:
    """Returns the descriptor of a copy in memory: QEMU may run as a user who cannot read the file. Raises GuestError."""
    descriptor = os.memfd_create(path.name[:200])
    try:
        with open_file(path) as file, os.fdopen(os.dup(descriptor), "wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    except OSError as error:
        os.close(descriptor)
        raise GuestError(f"{path}: cannot read: {error.strerror or error}") from error
    return descriptor


def _is_efi(image: int) -> bool:
    """Returns True if a kernel is an EFI image, which firmware starts; QEMU starts an ELF file itself."""
    return os.pread(image, 2, 0) == b"MZ"


def _command(qemu: Qemu, machine: Machine, guest: Guest, words: str, files: Sequence[int]) -> list[str]:
    """Returns QEMU's command line; `files` are the descriptors of the kernel, the archive and the second serial line."""
    image, initramfs, results = files
    if guest.kvm:
        accelerator = ("-accel", "kvm", "-cpu", "host", *(machine.kvm_board or machine.board))
    else:
        accelerator = ("-accel", "tcg", "-cpu", machine.processor, *machine.board)
    firmware = ("-bios", qemu.firmware) if qemu.firmware and _is_efi(image) else ()
    second = ("-serial", f"file:/dev/fd/{results}") if machine.results else ()
    line = f"tca.results={machine.results}" if machine.results else ""
    return [
        *(qemu.program, *qemu.confinement, "-nodefaults", "-no-user-config", "-monitor", "none"),
        *(
            "-display",
            "none",
            "-nic",
            "none",
            "-no-reboot",
            "-smp",
            "1",
            "-m",
            str(guest.memory),
            *accelerator,
            *firmware,
        ),
        *("-serial", "stdio", *second),
        *("-kernel", f"/dev/fd/{image}", "-initrd", f"/dev/fd/{initramfs}"),
        *(
            "-append",
            " ".join(filter(None, (machine.command_line, _COMMAND_LINE, line, guest.append, words, INIT_WORDS))),
        ),
    ]


class _Listener:
    """Collects the output of a guest on its console and its second serial line, and that of QEMU."""

    def __init__(self, on_frame: Callable[[list[str]], None]) -> None:
        self.frames: dict[int, list[str]] = {}
        self.buffers = {"console": bytearray(), "results": bytearray(), "stderr": bytearray()}
        self._partial = {"console": b"", "results": b""}
        self._on_frame = on_frame

    def hear(self, source: str, data: bytes) -> bool:
        """Takes output of a source; returns True if there was a new frame in it."""
        if len(self.buffers[source]) < _MAX_CONSOLE:
            self.buffers[source] += data
        if source == "stderr":
            return False
        # Frames come on the second line, or between the messages of the only one.
        lines = (self._partial[source] + data).split(b"\n")
        self._partial[source] = lines.pop()[-8192:]
        news = False
        for number, fields in filter(None, map(parse, lines)):
            # The kernel that is audited may be hostile: it may send anything, but the number of frames is bounded.
            if number not in self.frames and len(self.frames) < _MAX_FRAMES:
                self.frames[number] = fields
                self._on_frame(fields)
                news = True
        return news


def _listen(
    process: Process, results: int, listener: _Listener, limits: _Limits, cancelled: Callable[[], bool]
) -> bool:
    """Reads until the guest ends; returns True if it was given up. Raises GuestError if the user cancelled."""
    assert process.stdout is not None
    assert process.stderr is not None
    with selectors.DefaultSelector() as selector:
        for source, name in (
            (process.stdout.fileno(), "console"),
            (process.stderr.fileno(), "stderr"),
            (results, "results"),
        ):
            os.set_blocking(source, False)
            selector.register(source, selectors.EVENT_READ, name)
        deadline = min(time.monotonic() + limits.patience, limits.end)
        while selector.get_map():
            for key, _ in selector.select(timeout=max(0.0, min(1.0, deadline - time.monotonic()))):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fd)
                elif listener.hear(key.data, data):
                    deadline = min(time.monotonic() + limits.patience, limits.end)
            if cancelled():
                raise GuestError("cancelled")
            if time.monotonic() > deadline:
                return True
    return False


def _boot(
    qemu: Qemu,
    machine: Machine,
    files: Sequence[int],
    guest: Guest,
    words: str,
    limits: _Limits,
    on_frame: Callable[[list[str]], None],
    cancelled: Callable[[], bool],
) -> _Boot:
    """Boots once and reads until the guest ends or goes silent; `files` are descriptors of the kernel and the archive."""
    # If root started this, QEMU runs as the user `nobody`. A QEMU without a sandbox is one that a caller brought: it runs as the caller.
    user = NOBODY if os.geteuid() == 0 and qemu.confinement and not guest.kvm else None
    reader, writer = os.pipe()
    listener = _Listener(on_frame)
    try:
        if user is not None:
            os.fchown(writer, user, user)  # QEMU opens it by its name
        command = _command(qemu, machine, guest, words, (*files, writer))
        with start(
            command,
            descriptors=(*files, writer),
            dies_with_us=True,
            limits=resource_limits(guest.memory, limits.end - time.monotonic()),
            user=user,
        ) as process:
            os.close(writer)
            writer = -1
            timed_out = _listen(process, reader, listener, limits, cancelled)
    except ProgramError as error:
        raise GuestError(str(error)) from error
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    text = {name: data.decode("utf-8", "replace") for name, data in listener.buffers.items()}
    frames = [listener.frames[number] for number in sorted(listener.frames)]
    return _Boot(frames, text["console"], timed_out, text["stderr"])


class _Told(NamedTuple):
    """The content of a boot's frames: the kernel, the results, the probe that was started last and has none, the one
    with the last result, and the end.
    """

    hello: list[str] | None
    results: dict[str, Result]
    started: str | None
    last: str | None
    end: tuple[float | None, tuple[str, ...]] | None
    error: str | None


def _read(frames: Sequence[Sequence[str]], known: set[str]) -> _Told:
    """Reads frames; skips those that are of no form that a guest of ours sends, or of a probe that was not asked for."""
    hello: list[str] | None = None
    results: dict[str, Result] = {}
    started: str | None = None
    last: str | None = None
    end: tuple[float | None, tuple[str, ...]] | None = None
    error: str | None = None
    for kind, *fields in frames:
        if kind == "hello" and len(fields) == 2 + len(_FACTS):
            hello = fields
        elif kind == "start" and len(fields) == 1 and fields[0] in known:
            started = fields[0]
        elif kind == "result" and len(fields) == 5 and fields[0] in known and fields[1] in _STATES:
            results[fields[0]] = Result(fields[1], fields[2], bool(fields[3]), fields[4])
            started, last = None, fields[0]
        elif kind == "end" and len(fields) == 2:
            seconds = float(fields[0]) if re.fullmatch(r"\d{1,6}\.\d{1,6}", fields[0], re.ASCII) else None
            end = seconds, tuple(name for name in fields[1].split(",") if name)
        elif kind == "error" and fields:
            error = f"the guest's first process failed: {fields[0]}"
    return _Told(hello, results, started, last, end, error)


class _Run:
    """The boots of one kernel, until every probe has a result or the guest cannot give one."""

    def __init__(self, guest: Guest, slugs: Sequence[str] | None) -> None:
        self._guest = guest
        self.waiting = [probe for probe in PROBES if slugs is None or probe.slug in slugs]
        self.failure: str | None = None
        self._results: dict[str, Result] = {}
        self._consoles: list[str] = []
        self._hello = ["", "", *("" for _ in _FACTS)]
        self._seconds: float | None = None
        self._left: tuple[str, ...] = ()
        self._end = time.monotonic() + _RUN_TIME * guest.patience

    def limits(self) -> _Limits:
        """Returns when the next boot is given up."""
        patience = self._guest.patience
        return _Limits(patience, min(time.monotonic() + _BOOT_TIME * patience, self._end))

    def add(self, boot: _Boot) -> None:
        """Adds the results of a boot."""
        self._consoles.append(boot.console)
        said = _read(boot.frames, {probe.slug for probe in self.waiting})
        self._results |= said.results
        silent_for = self._guest.patience if boot.timed_out else None
        self.failure = said.error
        if said.hello is not None:
            self._hello = said.hello
        if said.hello is None:
            self.failure = self.failure or why_not(boot.console, boot.stderr, silent_for)
        elif said.started is not None:
            probe = next(probe for probe in self.waiting if probe.slug == said.started)
            self._results[said.started] = oops(probe, boot.console, silent_for)
        elif said.end is None:
            if self.failure is None and said.last is not None:
                self._doubt(said.last, boot.console, silent_for)
            self.failure = self.failure or "the guest ended between two probes"
        else:
            self._seconds, self._left = said.end
        self.waiting = [probe for probe in self.waiting if probe.slug not in self._results]
        if said.end is not None and self.waiting:
            self.failure = self.failure or "the guest did not report every probe"
        if self.waiting and time.monotonic() > self._end:
            self.failure = self.failure or f"its boots took more than {_RUN_TIME * self._guest.patience:g} s"

    def _doubt(self, slug: str, console: str, silent_for: float | None) -> None:
        """Takes back that a probe saw no defect, because the kernel did not outlive it: what a probe made may be freed
        only after its result.
        """
        if self._results[slug].state == ABSENT:
            ended = oops(next(probe for probe in self.waiting if probe.slug == slug), console, silent_for)
            self._results[slug] = ended._replace(detail=f"it saw no defect; behind its result: {ended.detail}")

    def outcome(self) -> GuestRun:
        """Returns the results of all boots."""
        for probe in self.waiting:
            self._results[probe.slug] = Result(COULD_NOT_RUN, self.failure or "the guest did not run it", False)
        release, version, *facts = self._hello
        named = dict(zip(_FACTS, facts, strict=True)) if release else {}
        consoles = tuple(self._consoles)
        return GuestRun(
            release, version, named, self._results, consoles, self.failure, len(consoles), self._seconds, self._left
        )


def run_in_guest(
    image: Path,
    initramfs: Path,
    guest: Guest | None = None,
    slugs: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
    qemu: Qemu | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    name: str | None = None,
    architecture: str | None = None,
) -> GuestRun:
    """Runs probes (None: all) in guests booted from a kernel image of an architecture (None: this host's); raises
    GuestError if no guest can be started at all.

    A boot takes at most `_BOOT_TIME` times the patience, and all boots together `_RUN_TIME` times.
    """
    machine = find_machine(architecture)
    qemu = qemu or find_qemu(architecture)
    guest = guest or Guest()
    label = name or image.name
    if guest.kvm and not is_native(machine):
        raise GuestError(f"--kvm: the image is for {machine.architecture}: it can only be emulated here, without --kvm")
    if guest.kvm and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise GuestError("--kvm: /dev/kvm cannot be used here; without --kvm the guest is emulated")

    def on_frame(fields: list[str]) -> None:
        if fields[0] == "start" and len(fields) == 2:
            progress(f"{label}: {fields[1]}")

    files: list[int] = []
    try:
        for path in (image, initramfs):
            files.append(_copy(path))
        found = _Run(guest, slugs)
        while found.waiting and found.failure is None:
            progress(f"booting {label} ({len(found.waiting)} probes)")
            words = f"tca.only={','.join(short(probe.slug) for probe in found.waiting)}"
            found.add(_boot(qemu, machine, files, guest, words, found.limits(), on_frame, cancelled))
    finally:
        for descriptor in files:
            os.close(descriptor)
    return found.outcome()
