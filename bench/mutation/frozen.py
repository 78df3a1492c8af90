"""A guest that is booted once and frozen before it loads a program. Each mutant is the frozen guest with a few bytes of
its kernel's code changed.

The guest is stopped at the first mount(2) of its first process: the kernel has booted, and bpf(2) was not called yet.
QEMU saves that state (savevm), and every run starts from it, so no run affects the next. Effects of the changed
functions during boot are not observed; a full boot (`bench.mutation.guest`) shows them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from bench.mutation.remote import Debugger, Monitor, RemoteError
from bench.mutation.subject import Edit, MutationError, Subject
from tailcall_audit.analyzer.kernelfiles.binary import Function
from tailcall_audit.probes.defects import PROBES
from tailcall_audit.probes.guest.archive import INIT_WORDS, build_initramfs
from tailcall_audit.probes.guest.boot import find_qemu
from tailcall_audit.probes.guest.console import oops
from tailcall_audit.probes.guest.frames import parse
from tailcall_audit.probes.guest.qemu import Qemu, find_machine
from tailcall_audit.probes.probe import COULD_NOT_RUN, Result
from tailcall_audit.probes.processes import find_program, run, start

__all__ = ["Frozen", "PatchedError", "freeze", "translated"]

_MEMORY = 256
_FIRST_CALL = "__x64_sys_mount"
_COMMAND_LINE = "saved_command_line"
_WORDS = "console=ttyS0 no_timer_check quiet panic=-1 oops=panic PYTHONHASHSEED=0"
_PATIENCE = 15.0
"""Seconds of processor time that QEMU may use without a result from the guest. All probes together take one second."""
_STATE = "frozen"
_ONLY = "tca.only="


class PatchedError(RuntimeError):
    """Raised if the kernel changed the code during boot: alternatives, static calls, static branches."""


class Frozen:
    """A frozen guest. `freeze` makes one."""

    def __init__(self, subject: Subject, slugs: Sequence[str], folder: Path, process: int) -> None:
        self._subject = subject
        self._slugs = tuple(slugs)
        self._folder = folder
        self._process = process
        self._monitor = Monitor(folder / "monitor")
        self._debugger = Debugger(folder / "debugger")
        places = subject.addresses((_FIRST_CALL, _COMMAND_LINE))
        self._debugger.run_to(places[_FIRST_CALL])
        self._words = int.from_bytes(self._debugger.read(places[_COMMAND_LINE], 8), "little")
        self._monitor.human(f"savevm {_STATE}")

    def run(self, edits: Iterable[Edit] = (), slugs: Sequence[str] | None = None) -> dict[str, Result]:
        """Returns the results of the probes (None: all) in the frozen guest with its code changed. Raises RemoteError
        if QEMU fails, PatchedError if the booted kernel's code differs from its file at an edit.
        """
        found: dict[str, Result] = {}
        changes = tuple(edits)
        wanted = self._slugs if slugs is None else slugs
        waiting = [probe.slug for probe in PROBES if probe.slug in wanted]
        while waiting:
            seen = self._once(changes, waiting)
            if not seen:
                return found | {slug: Result(COULD_NOT_RUN, "the guest said nothing", False) for slug in waiting}
            found |= seen
            waiting = [slug for slug in waiting if slug not in found]
        return found

    def reached(self, functions: Iterable[Function], slugs: Sequence[str], rounds: int = 3) -> frozenset[int]:
        """Returns the addresses of instructions in some functions that QEMU translates while probes run in the
        unchanged kernel: no other instruction can have run. Several rounds are needed, because deferred work runs at
        varying times.
        """
        wanted = tuple(functions)
        seen: set[int] = set()
        for _ in range(rounds):
            (self._folder / "log").write_bytes(b"")
            self._once((), slugs, log=True)
            seen |= translated((self._folder / "log").read_text(errors="replace"), wanted)
        return frozenset(seen)

    def close(self) -> None:
        """Closes the connections to QEMU."""
        self._monitor.close()
        self._debugger.close()

    def _once(self, edits: Iterable[Edit], slugs: Sequence[str], log: bool = False) -> dict[str, Result]:
        self._monitor.human(f"loadvm {_STATE}")
        for edit in edits:
            if self._debugger.read(edit.address, len(edit.old)) != edit.old:
                raise PatchedError(f"{edit.address:#x} was patched while the kernel booted")
            self._debugger.write(edit.address, edit.new)
        self._want(slugs)
        marks = {name: (self._folder / name).stat().st_size for name in ("console", "results")}
        self._monitor.events.clear()
        if log:
            self._monitor.human("log in_asm")
        self._monitor.run("cont")
        silent = self._listen(marks)
        self._monitor.run("stop")
        if log:
            self._monitor.human("log none")
        return self._results(marks, slugs, silent)

    def _want(self, slugs: Sequence[str]) -> None:
        """Sets the probes that the guest's first process runs: it reads the kernel's command line after the frozen
        moment.
        """
        old = self._debugger.read(self._words, 1024).partition(b"\0")[0]
        before, mark, after = old.partition(_ONLY.encode())
        names, space, rest = after.partition(b" ")
        new = before + mark + ",".join(slugs).encode().ljust(len(names), b",") + space + rest
        if not mark or len(new) != len(old):
            raise RemoteError("the guest's kernel has another command line")
        self._debugger.write(self._words, new)

    def _listen(self, marks: dict[str, int]) -> bool:
        """Waits until the guest ends; returns True if it had no result for too long. What its console says is no sign of
        life: a guest that hangs in the kernel complains about that for ever.
        """
        used, size = self._used(), marks["results"]
        while "RESET" not in self._monitor.events and "SHUTDOWN" not in self._monitor.events:
            self._monitor.wait(0.5)
            now = (self._folder / "results").stat().st_size
            if now != size:
                used, size = self._used(), now
            elif self._used() - used > _PATIENCE:
                return True
        return False

    def _used(self) -> float:
        words = Path(f"/proc/{self._process}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def _results(self, marks: dict[str, int], slugs: Sequence[str], silent: bool) -> dict[str, Result]:
        text = {name: (self._folder / name).read_bytes()[mark:] for name, mark in marks.items()}
        found: dict[str, Result] = {}
        started = None
        for frame in filter(None, map(parse, text["results"].split(b"\n"))):
            kind, *fields = frame[1]
            if kind == "start" and fields[0] in slugs:
                started = fields[0]
            elif kind == "result" and len(fields) == 5 and fields[0] in slugs:
                found[fields[0]] = Result(fields[1], fields[2], bool(fields[3]), fields[4])
                started = None
        if started is not None:
            probe = next(probe for probe in PROBES if probe.slug == started)
            console = text["console"].decode("utf-8", "replace")
            found[started] = oops(probe, console, _PATIENCE if silent else None)
        return found


_INSTRUCTION = re.compile(r"^(?:0x)?([0-9a-f]{16}):", re.MULTILINE)


def translated(log: str, functions: Iterable[Function]) -> frozenset[int]:
    """Returns the addresses in a log of QEMU (``-d in_asm``) that lie within some functions."""
    ranges = [(item.address, item.address + len(item.code)) for item in functions]
    found = {int(word, 16) for word in _INSTRUCTION.findall(log)}
    return frozenset(address for address in found if any(start <= address < end for start, end in ranges))


def _command(qemu: Qemu, folder: Path, functions: Iterable[Function], slugs: Sequence[str]) -> list[str]:
    lines = [f"unix:{folder / name},server=on,wait=off" for name in ("monitor", "debugger")]
    ranges = ",".join(f"{item.address:#x}+{len(item.code):#x}" for item in functions)
    machine = find_machine("x86_64")
    archive = build_initramfs(user_cache_path("tailcall-audit", appauthor=False) / "guest")
    return [
        *(qemu.program, *qemu.confinement, "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none"),
        *("-smp", "1", "-m", str(_MEMORY), "-accel", "tcg", "-cpu", machine.processor, *machine.board, "-S"),
        *("-serial", f"file:{folder / 'console'}", "-serial", f"file:{folder / 'results'}"),
        *("-kernel", str(folder / "kernel"), "-initrd", str(archive)),
        *("-drive", f"if=none,format=qcow2,file={folder / 'state'}"),
        *("-qmp", lines[0], "-gdb", lines[1], "-dfilter", ranges or "0+1", "-D", str(folder / "log")),
        *("-append", f"{_WORDS} tca.results={machine.results} {_ONLY}{','.join(slugs)} {INIT_WORDS}"),
    ]


@contextmanager
def freeze(subject: Subject, slugs: Sequence[str], functions: Sequence[Function]) -> Iterator[Frozen]:
    """Boots a kernel to the frozen moment. QEMU can log the code that it translates in `functions`. Raises
    MutationError if this is not possible, RemoteError if QEMU fails.
    """
    maker = find_program("qemu-img")
    if maker is None:
        raise MutationError("no qemu-img on this host: it makes the file that keeps a frozen guest; install qemu-utils")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailcall-audit-frozen-")))
        (folder / "kernel").write_bytes(subject.elf)
        made = run([maker, "create", "-q", "-f", "qcow2", str(folder / "state"), "4G"], timeout=60)
        if made.status != 0:
            raise MutationError(f"qemu-img: {made.complaint()}")
        for name in ("console", "results", "log"):
            (folder / name).touch()
        with (folder / "complaints").open("wb") as complaints:
            command = _command(find_qemu(), folder, functions, slugs)
            process = stack.enter_context(start(command, errors=complaints.fileno(), dies_with_us=True))
        frozen = Frozen(subject, slugs, folder, process.pid)
        stack.callback(frozen.close)
        yield frozen
