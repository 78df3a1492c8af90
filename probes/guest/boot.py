"""A throw-away guest: boots a kernel in QEMU, lets it run the probes, and reads what they saw from its serial lines.

No disk, no network, nothing of the host but the archive that `tailcall_audit.probes.guest.archive` makes. A probe that
panics the guest costs one boot: the others run in the next. The guest dies with the process that started it.
"""

from __future__ import annotations

import os
import selectors
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.archive import INIT_WORDS
from tailcall_audit.probes.guest.frames import parse, short
from tailcall_audit.probes.guest.machines import Machine
from tailcall_audit.probes.guest.qemu import NOBODY, GuestError, Qemu, find_machine, find_qemu, is_native
from tailcall_audit.probes.guest.qemu import limits as resource_limits
from tailcall_audit.probes.guest.results import Boot, GuestRun, Results
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


class Guest(NamedTuple):
    """How to boot: memory in MiB, seconds that it may be silent, KVM instead of emulation, words for the kernel's
    command line (some of which the guest's first process reads)."""

    memory: int = 512
    patience: float = 90.0
    kvm: bool = False
    append: str = ""


class _Limits(NamedTuple):
    """When a boot is given up: seconds of silence, and a point of time.monotonic()."""

    patience: float
    end: float


def _limits(patience: float, end: float) -> _Limits:
    """Returns when the next boot is given up; `end` is when all of them are."""
    return _Limits(patience, min(time.monotonic() + _BOOT_TIME * patience, end))


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
) -> Boot:
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
    return Boot(frames, text["console"], text["stderr"], limits.patience if timed_out else None)


def _check_kvm(machine: Machine) -> None:
    """Raises GuestError if KVM cannot run guests of a machine here."""
    if not is_native(machine):
        raise GuestError(f"--kvm: the image is for {machine.architecture}: it can only be emulated here, without --kvm")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise GuestError("--kvm: /dev/kvm cannot be used here; without --kvm the guest is emulated")


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
    if guest.kvm:
        _check_kvm(machine)

    def on_frame(fields: list[str]) -> None:
        if fields[0] == "start" and len(fields) == 2:
            progress(f"{label}: {fields[1]}")

    files: list[int] = []
    try:
        for path in (image, initramfs):
            files.append(_copy(path))
        found, end = Results(slugs), time.monotonic() + _RUN_TIME * guest.patience
        while found.waiting and found.failure is None:
            progress(f"booting {label} ({len(found.waiting)} probes)")
            words = f"tca.only={','.join(short(probe.slug) for probe in found.waiting)}"
            limits = _limits(guest.patience, end)
            found.add(_boot(qemu, machine, files, guest, words, limits, on_frame, cancelled))
            if found.waiting and time.monotonic() > end:
                found.give_up(f"its boots took more than {_RUN_TIME * guest.patience:g} s")
    finally:
        for descriptor in files:
            os.close(descriptor)
    return found.outcome()
