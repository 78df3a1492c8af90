"""Boots a kernel in a guest with a first process of a test's own. Never on the machine of the tests.

The archive is a guest's own (the probes and their Python); a second one behind it has the first process and its files.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tailcall_audit.probes.guest.archive import build_initramfs
from tailcall_audit.probes.guest.cpio import write_cpio
from tailcall_audit.probes.guest.interpreter import interpreter
from tailcall_audit.probes.guest.machines import MACHINES
from tailcall_audit.probes.guest.qemu import GuestError, find_qemu
from tests.kernels import cache_directory

__all__ = ["Answer", "boot"]

_START = """\
#!{python} -PSBs
import sys
sys.path.insert(0, '/tailcall-audit')
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for kind, where in (('proc', '/proc'), ('sysfs', '/sys')):
    os.makedirs(where, exist_ok=True)
    libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None)
os.path.exists('/dev/ttyS1') or os.mknod('/dev/ttyS1', 0o600 | 0o020000, os.makedev(4, 65))
line = os.open('/dev/ttyS1', os.O_WRONLY | os.O_NOCTTY)
"""
_END = """
libc.tcdrain(line)
# A guest whose first process gave up its privileges ends by a panic.
libc.reboot(0x01234567)
"""


class Answer(NamedTuple):
    """What the first process wrote to `line`, and what the console and QEMU printed."""

    written: bytes
    console: str


def boot(image: Path, script: str, files: Iterable[tuple[str, bytes]], append: str = "", seconds: int = 300) -> Answer:
    """Returns what `script` writes to `line`, a file descriptor. It is Python, and `libc` is there, too. `files` are
    paths in the guest and contents. Skips if there is no QEMU.
    """
    try:
        qemu = find_qemu()
    except GuestError as error:
        pytest.skip(str(error))
    machine = next(item for item in MACHINES if item.architecture == "x86_64")
    with tempfile.TemporaryDirectory() as name:
        archive, answer = Path(name) / "initramfs", Path(name) / "answer"
        base = build_initramfs(cache_directory() / "guest").read_bytes()
        init = _START.format(python=interpreter()) + script + _END
        members = [(path, 0o100644, data, (0, 0)) for path, data in files]
        archive.write_bytes(base + write_cpio([*members, ("init", 0o100755, init.encode(), (0, 0))]))
        command = [
            *(qemu.program, "-nodefaults", "-no-user-config", "-monitor", "none", "-display", "none", "-nic", "none"),
            *("-no-reboot", "-smp", "1", "-m", "768", "-accel", "tcg", "-cpu", machine.processor, *machine.board),
            *("-serial", "stdio", "-serial", f"file:{answer}", "-kernel", str(image), "-initrd", str(archive)),
            *("-append", f"{machine.command_line} quiet panic=-1 oops=panic PYTHONHASHSEED=0 {append}"),
        ]
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
        written = answer.read_bytes() if answer.exists() else b""
    console = done.stdout[-2000:].decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")
    return Answer(written, console)
